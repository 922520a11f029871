"""Scores calls with one form of the model: one Parquet row a call, kept, in the order of the side's file."""

import hashlib
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from configs.serving import ServeSettings
from data_contracts.artifacts import Adapter, Base, Hop, Model, Predictions, Side, Splits
from data_contracts.prompt import Prompt
from data_contracts.schema import Frozen
from data_contracts.taxonomy import Taxonomy
from deploy.engines import Engine, Scores, choose, heap
from deploy.engines.transformers import TransformersEngine
from deploy.tokenizer import Tokens
from tasks import looks, merge
from tasks.stages import Work

if TYPE_CHECKING:
    from polars import DataFrame


class ScoredSides(Frozen):
    """One hop's predictions by side."""

    predictions: dict[Side, Predictions]


class Read(NamedTuple):
    """Encoded calls of one side: tokens of each prompt, and ids left out of it."""

    prompts: list[Sequence[int]]
    truncated: list[int]
    head_tokens: int


def score(
    model: Base | Adapter | Model,
    hop: Hop,
    splits: Splits,
    sides: tuple[Side, ...],
    prompt: Prompt,
    taxonomy: Taxonomy,
    serve: ServeSettings,
    work: Work,
) -> ScoredSides:
    """Load the model once, in the engine `serve.engine`, score every side asked for.

    Raises:
        ModelLoadError: the weights or the tokenizer cannot be loaded, or a category code is not one token.
        EngineUnavailable: the engine does not start, or dies.
    """
    import polars as pl

    if isinstance(model, Adapter) and "gold" in sides:
        looks.answered(work.store, splits.gold_digest, model.digest)  # before any answer can be read
    tokens = Tokens.load(_tokenizer(model, work))
    codes = taxonomy.code_ids(tokens)
    engine = _engine(model, serve, prompt.longest(tokens), work)
    predictions: dict[Side, Predictions] = {}
    try:
        for side in sides:
            frame = pl.read_parquet(work.store.local(splits.file(side)))
            read = encode(frame["input_text"].to_list(), prompt, tokens)
            started = time.monotonic()
            with heap.kept():
                scores = engine.score(read.prompts, codes, read.head_tokens)
            kept = keep(frame, scores, hop, side, splits, taxonomy, work, read)
            predictions[side] = kept.model_copy(update={"seconds": time.monotonic() - started})
    finally:
        engine.close()
    return ScoredSides(predictions=predictions)


def encode(texts: Sequence[str], prompt: Prompt, tokens: Tokens) -> Read:
    """Every call as prompt ids."""
    read = Read([], [], len(prompt.frame(tokens)[0]))
    for encoded in prompt.encode_all(texts, tokens):
        read.prompts.append(array("i", encoded.ids))
        read.truncated.append(encoded.truncated)
    return read


def keep(
    frame: "DataFrame",
    scores: Scores,
    hop: Hop,
    side: Side,
    splits: Splits,
    taxonomy: Taxonomy,
    work: Work,
    read: Read | None = None,
) -> Predictions:
    """Write `<side>.parquet`, one row a call; without `read` the calls count no tokens."""
    import polars as pl

    none = [0] * frame.height
    lengths = [len(p) for p in read.prompts] if read else none
    rows = frame.select("conversation_id", "group", category="complaint_category").with_columns(
        pl.Series("logprobs", scores.logprobs.tolist(), dtype=pl.List(pl.Float32)),
        pl.Series("label_mass", scores.label_mass.tolist(), dtype=pl.Float32),
        pl.Series("tokens", lengths, dtype=pl.Int64),
        pl.Series("truncated", read.truncated if read else none, dtype=pl.Int64),
    )
    rows.write_parquet(work.out / f"{side}.parquet")
    return Predictions(
        key=f"{work.key}/{side}.parquet",
        hop=hop,
        side=side,
        rows=frame.height,
        rows_digest=splits.gold_digest if side == "gold" else _rows_digest(frame),
        taxonomy_digest=taxonomy.digest,
        seconds=0.0,
        tokens=sum(lengths),
    )


def _rows_digest(frame: "DataFrame") -> str:
    ids: list[Any] = frame["conversation_id"].to_list()
    return hashlib.sha256("\n".join(map(str, ids)).encode()).hexdigest()


def _tokenizer(model: Base | Adapter | Model, work: Work) -> Path:
    if isinstance(model, Model):
        return work.store.local(model.key)
    return Path(model.path if isinstance(model, Base) else model.base.path)


def _engine(model: Base | Adapter | Model, serve: ServeSettings, longest_tokens: int, work: Work) -> Engine:
    """The engine of the settings over the model in the form it has here; an adapter is applied to its base, not merged."""
    if isinstance(model, Adapter):
        tuned = merge.as_trained(model, serve.precision, work.store).get_base_model()
        return TransformersEngine(tuned, threads=serve.threads, batch_tokens=serve.batch_tokens)
    folder = work.store.local(model.key) if isinstance(model, Model) else Path(model.path)
    return choose.load(serve.engine, folder, serve, longest_tokens)
