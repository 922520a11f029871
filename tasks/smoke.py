"""Tries a model of slot `generate` on this machine: does it load, write, repeat itself exactly, and how fast is it."""

import time
from collections.abc import Sequence
from statistics import median

from configs.serving import ServeSettings
from data_contracts.artifacts import BundleRef, GenerationSpeed
from data_contracts.schema import Frozen
from deploy import generation
from deploy.dialogue import Dialogue
from deploy.engines import Engine, Sampling, choose
from tasks import speed
from tasks.stages import Work

QUESTION = "客户反映上个月多扣了三十元，客服应该先做什么？请用三句话回答。"
NEW_TOKENS = 48
ROUNDS = 3


class Smoke(Frozen):
    """What the trial showed. `repeats`: the greedy text came out the same every time."""

    speed: GenerationSpeed
    repeats: bool


def smoke(bundle: BundleRef, serve: ServeSettings, *, work: Work) -> Smoke:
    """Load the bundle with its engine, and write a greedy text several times.

    Raises:
        ModelLoadError, EngineUnavailable, ResourceInsufficient: it cannot be loaded, or not run, here.
    """
    opened = generation.open(work.store.local(bundle.key))
    dialogue = Dialogue.load(opened.model)
    prompt = dialogue.ids([{"role": "user", "content": QUESTION}], thinking=dialogue.can_think)
    longest = min(opened.facts.context_tokens, serve.generate.context_tokens)
    started = time.monotonic()
    engine = choose.load(opened.facts.engine, opened.model, choose.for_texts(serve), longest)
    load_s = time.monotonic() - started
    try:
        rounds = [_write(engine, prompt) for _ in range(ROUNDS)]
        memory_mb = engine.memory_mb()
    finally:
        engine.close()
    written = rounds[0][0]
    measured = GenerationSpeed(
        load_s=load_s,
        first_token_s=max(first_s for _, first_s, _ in rounds),  # the first round's: later ones know the prompt
        tokens_s=median(rate for _, _, rate in rounds),
        memory_mb=memory_mb,
        prompt_tokens=len(prompt),
        new_tokens=len(written),
        machine=speed.machine(),
    )
    return Smoke(speed=measured, repeats=bool(written) and all(ids == written for ids, _, _ in rounds))


def _write(engine: Engine, prompt: Sequence[int]) -> tuple[list[int], float, float]:
    """Tokens, seconds to the first, and tokens a second after it; no token ends it, so that there is something to measure."""
    started = first = time.monotonic()
    ids: list[int] = []
    for token in engine.generate(prompt, Sampling(NEW_TOKENS)):
        if not ids:
            first = time.monotonic()
        ids.append(token)
    after_s = time.monotonic() - first
    return ids, first - started, (len(ids) - 1) / after_s if len(ids) > 1 and after_s > 0 else 0.0
