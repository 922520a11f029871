"""A bundle as an MLflow model from code: the logged model cites the bundle by URI and digest and holds no weights.

MLflow copies this file and runs the copy when it loads the model (`mlflow models serve --env-manager local`); imported
as a module of the project it has no effect. A candidate can be loaded here whatever its verdict, for evaluation: what
reaches production goes through the service, which asks for the verdict.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from configs.serving import ServeSettings
from data_contracts.errors import BundleCorrupt
from data_contracts.schema import Call, Frozen
from deploy import bundle as bundles
from deploy import calibration
from deploy.bundle import Bundle
from deploy.engines import Engine
from deploy.service import child, text
from deploy.store import open_store
from deploy.tokenizer import Tokens


class Answer(Frozen):
    """One call's answer. `confidence` is the probability of `category`; `review` means a person should look."""

    category: str
    name_zh: str
    confidence: float
    decision: str
    reasons: list[str]
    probabilities: dict[str, float]
    bundle_digest: str


def fetch(uri: str, digest: str) -> Bundle:
    """The bundle of a logged model, fetched if it lies in S3, every file verified.

    Raises:
        BundleCorrupt: the bundle there is another one, or damaged.
        StoreUnavailable: it is not there.
    """
    root, _, key = uri.rpartition("/bundles/")
    url = root if root.startswith("s3://") else url2pathname(urlsplit(root).path)
    found = bundles.open(open_store(url, None, Path(gettempdir()) / "tingsu").local(f"bundles/{key}"))
    if found.digest != digest:
        raise BundleCorrupt(
            f"{uri} holds bundle {found.digest[:12]}, the model was logged with {digest[:12]}; register it again"
        )
    return found


def engine_of(bundle: Bundle, tokens: Tokens) -> Engine:
    """The bundle's engine, in this process."""
    return child.load(child.plan_of(bundle, ServeSettings(), tokens))


def classify(bundle: Bundle, engine: Engine, tokens: Tokens, texts: Sequence[str]) -> list[Answer]:
    """One answer a call, as the service gives them: category, calibrated probabilities, auto or review."""
    if not texts:
        return []
    encoded = [bundle.prompt.encode(text.prepare(Call(text=t), bundle.prompt), tokens) for t in texts]
    scores = engine.score([e.ids for e in encoded], bundle.code_ids, encoded[0].head_tokens)
    probabilities = calibration.apply(bundle.calibration, scores.logprobs)
    decided = calibration.decide(bundle.calibration, probabilities, scores.label_mass)
    keys = bundle.taxonomy.keys
    return [
        Answer(
            category=keys[int(decided.predicted[i])],
            name_zh=bundle.taxonomy.categories[int(decided.predicted[i])].name_zh,
            confidence=float(decided.confidence[i]),
            decision="review" if decided.reasons[i] else "auto",
            reasons=list(decided.reasons[i]),
            probabilities={key: float(p) for key, p in zip(keys, row, strict=True)},
            bundle_digest=bundle.digest,
        )
        for i, row in enumerate(probabilities)
    ]


def define() -> None:
    """Tell MLflow the model of this file."""
    import mlflow

    class ComplaintModel(mlflow.pyfunc.PythonModel):
        """Texts in, answers out."""

        def load_context(self, context: Any) -> None:
            self.bundle = fetch(context.model_config["bundle"], context.model_config["digest"])
            self.tokens = Tokens.load(self.bundle.model)
            self.engine = engine_of(self.bundle, self.tokens)

        def predict(self, context: Any, model_input: list[str]) -> list[Answer]:
            return classify(self.bundle, self.engine, self.tokens, model_input)

    mlflow.models.set_model(ComplaintModel())


if __name__ != "tasks.pyfunc":
    define()
