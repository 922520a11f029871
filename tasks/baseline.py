"""The yardstick: TF-IDF of character n-grams and logistic regression, on the same train and gold calls."""

import time

from configs.settings import BaselineSettings
from data_contracts.artifacts import Predictions, Splits
from data_contracts.taxonomy import Taxonomy
from deploy.engines import Scores
from tasks.score import keep
from tasks.stages import Work

FLOOR = 1e-6
"""Probability of a category without a training call."""


def fit(splits: Splits, taxonomy: Taxonomy, settings: BaselineSettings, work: Work) -> Predictions:
    """Train on the train side, predict gold; `logprobs` are logs of its probabilities, `label_mass` is 1."""
    import numpy as np
    import polars as pl
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train, gold = (pl.read_parquet(work.store.local(splits.file(side))) for side in ("train", "gold"))
    model = make_pipeline(
        TfidfVectorizer(
            analyzer="char",
            ngram_range=(1, settings.max_ngram),
            max_features=settings.max_features,
            sublinear_tf=True,
            dtype=np.float32,
        ),
        LogisticRegression(C=settings.c, max_iter=200, class_weight="balanced"),
    )
    model.fit(train["input_text"].to_list(), train["complaint_category"].to_list())
    started = time.monotonic()
    found = model.predict_proba(gold["input_text"].to_list())
    probabilities = np.full((gold.height, len(taxonomy.keys)), FLOOR, dtype=np.float32)
    probabilities[:, [taxonomy.index[key] for key in model.classes_]] = np.maximum(found, FLOOR)
    scores = Scores(np.log(probabilities), np.ones(gold.height, dtype=np.float32))
    kept = keep(gold, scores, "baseline", "gold", splits, taxonomy, work)
    return kept.model_copy(update={"seconds": time.monotonic() - started})
