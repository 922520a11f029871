"""The yardstick: TF-IDF of character n-grams and logistic regression, on the same train and gold calls."""

import time
from typing import Any

from configs.training import BaselineSettings
from data_contracts.artifacts import Predictions, Side, Splits
from data_contracts.taxonomy import Taxonomy
from deploy.engines import Scores
from tasks.score import ScoredSides, keep
from tasks.stages import Work

FLOOR = 1e-6
"""Probability of a category without a training call."""


def fit(splits: Splits, taxonomy: Taxonomy, settings: BaselineSettings, work: Work) -> ScoredSides:
    """Train on the train side, predict calibration and gold; `logprobs` are of its probabilities, `label_mass` is 1."""
    import polars as pl

    model = _pipeline(settings)
    train = pl.read_parquet(work.store.local(splits.file("train")))
    model.fit(train["input_text"].to_list(), train["complaint_category"].to_list())
    sides: tuple[Side, ...] = ("calibration", "gold")
    return ScoredSides(predictions={side: _predict(model, side, splits, taxonomy, work) for side in sides})


def _pipeline(settings: BaselineSettings) -> Any:
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(
        TfidfVectorizer(
            analyzer="char",
            ngram_range=(1, settings.max_ngram),
            max_features=settings.max_features,
            sublinear_tf=True,
            dtype=np.float32,
        ),
        LogisticRegression(C=settings.c, max_iter=200, class_weight="balanced"),
    )


def _predict(model: Any, side: Side, splits: Splits, taxonomy: Taxonomy, work: Work) -> Predictions:
    import numpy as np
    import polars as pl

    calls = pl.read_parquet(work.store.local(splits.file(side)))
    started = time.monotonic()
    found = model.predict_proba(calls["input_text"].to_list())
    seconds = time.monotonic() - started
    probabilities = np.full((calls.height, len(taxonomy.keys)), FLOOR, dtype=np.float32)
    probabilities[:, [taxonomy.index[key] for key in model.classes_]] = np.maximum(found, FLOOR)
    scores = Scores(np.log(probabilities), np.ones(calls.height, dtype=np.float32))
    kept = keep(calls, scores, "baseline", side, splits, taxonomy, work)
    return kept.model_copy(update={"seconds": seconds})
