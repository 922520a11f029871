"""Packs the bundle: the served model and everything its answers depend on, with golden requests to check it by."""

from typing import Any

from configs.serving import ServeSettings
from data_contracts.artifacts import BundleRef, Calibration, Model
from data_contracts.personal import mask
from data_contracts.prompt import Prompt
from data_contracts.samples import generate
from data_contracts.schema import Turn, flatten
from data_contracts.taxonomy import Taxonomy
from data_contracts.transcript import clean
from deploy import bundle
from deploy.bundle import Golden, Parity
from deploy.engines import choose
from deploy.tokenizer import Tokens
from tasks import parity
from tasks.stages import Work

GOLDEN_CALLS = 8
GOLDEN_SEED = 424_242


def pack(
    model: Model,
    prompt: Prompt,
    taxonomy: Taxonomy,
    fitted: Calibration,
    serve: ServeSettings,
    synthetic: bool,
    *,
    work: Work,
) -> BundleRef:
    """The bundle of a model. Golden requests are generated calls, so that no customer's words travel with a bundle."""
    texts = _texts()
    expected, measured = _expected(texts, model, prompt, taxonomy, fitted, serve, work)
    golden = tuple(
        Golden(
            text=text,
            probabilities=dict(zip(taxonomy.keys, map(float, row), strict=True)),
            tolerance=measured.tolerance,
        )
        for text, row in zip(texts, expected, strict=True)
    )
    parts = bundle.Parts(
        model=model,
        prompt=prompt,
        taxonomy=taxonomy,
        calibration=fitted,
        golden=golden,
        engine=serve.engine,
        synthetic=synthetic,
        parity=measured,
    )
    return bundle.assemble(parts, work.store)


def _texts() -> list[str]:
    texts = []
    for record in generate(GOLDEN_CALLS, GOLDEN_SEED, labelled=False):
        turns: Any = record["turns"]
        texts.append(mask(clean(flatten(tuple(Turn(**turn) for turn in turns)))).text)
    return texts


def _expected(
    texts: list[str],
    model: Model,
    prompt: Prompt,
    taxonomy: Taxonomy,
    fitted: Calibration,
    serve: ServeSettings,
    work: Work,
) -> tuple[Any, Parity]:
    """Probabilities (N, C) of the golden calls, by the engine that will serve, and how alike it gives them."""
    folder = work.store.local(model.key)
    tokens = Tokens.load(folder)
    engine = choose.load(serve.engine, folder, serve, prompt.longest(tokens))
    encoded = [prompt.encode(text, tokens) for text in texts]
    try:
        prompts, head = [e.ids for e in encoded], encoded[0].head_tokens
        return parity.measure(engine, prompts, taxonomy.code_ids(tokens), head, fitted, serve.parity_tolerance)
    finally:
        engine.close()
