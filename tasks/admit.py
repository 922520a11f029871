"""Judges the smoke and speed check of a model of slot `generate`, and signs: the verdict that lets it serve."""

import hashlib
import operator
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from configs.serving import GenerateSettings
from data_contracts.artifacts import GenerationVerdict, SpeedBound
from data_contracts.errors import GateRefused
from data_contracts.messages import say
from deploy import bundle, signing
from deploy.store import Store
from tasks import stages
from tasks.adopt import Adopted
from tasks.smoke import Smoke

HOLDS = {"at_least": operator.ge, "at_most": operator.le}
SIGNS = {"at_least": "≥", "at_most": "≤"}


def admit(
    adopted: Adopted, tried: Smoke, limits: GenerateSettings, profile: str, store: Store, home: Path
) -> GenerationVerdict:
    """The signed verdict, beside the bundle; the one there is, if it says the same of the same trial."""
    bounds = judge(tried, limits)
    missed = [bound.metric for bound in bounds if not bound.holds]
    code = "smoke_reject" if missed else "smoke_promote"
    english, chinese = say(code, of=len(bounds), missed=", ".join(missed))
    thresholds = "|".join(f"{bound.metric} {bound.kind} {bound.bound}" for bound in bounds)
    verdict = GenerationVerdict(
        decision="REJECT" if missed else "PROMOTE",
        bundle_digest=adopted.bundle.digest,
        name=adopted.name,
        engine=adopted.facts.engine,
        quantization=adopted.facts.quantization,
        thinks=adopted.facts.thinks,
        speed=tried.speed,
        bounds=bounds,
        thresholds_digest=hashlib.sha256(thresholds.encode()).hexdigest(),
        profile=profile,
        created_at=stages.now(),
        sentence_en=english,
        sentence_zh=chinese,
    )
    key = bundle.keypair(home)
    known = _stored(store, adopted, bundle.public_key(home))
    if known is not None and (known.thresholds_digest, known.speed) == (verdict.thresholds_digest, verdict.speed):
        return known
    signed = bundle.sign(verdict, key)
    bundle.attest(store, adopted.bundle, bundle.VERDICT, signed.model_dump_json(indent=1).encode())
    return signed


def is_let_in(adopted: Adopted, store: Store, home: Path) -> bool:
    """Whether this home lets the bundle serve already."""
    if store.read(f"{adopted.bundle.key}.attest/{bundle.VERDICT}") is None:
        return False
    bundle.keypair(home)
    known = _stored(store, adopted, bundle.public_key(home))
    return known is not None and known.decision == "PROMOTE"


def judge(tried: Smoke, limits: GenerateSettings) -> tuple[SpeedBound, ...]:
    """Every bound on what was measured."""
    speed = tried.speed
    bounds = [
        _bound("repeatable_share", "at_least", 1.0, float(tried.repeats)),
        _bound("new_tokens", "at_least", 2.0, float(speed.new_tokens)),
        _bound("tokens_s", "at_least", limits.min_tokens_s, speed.tokens_s),
        _bound("first_token_s", "at_most", limits.max_first_token_s, speed.first_token_s),
    ]
    if limits.max_memory_mb is not None:
        bounds.append(_bound("memory_mb", "at_most", limits.max_memory_mb, speed.memory_mb))
    return tuple(bounds)


def _bound(metric: str, kind: Literal["at_least", "at_most"], bound: float, value: float) -> SpeedBound:
    holds = bool(HOLDS[kind](value, bound))
    values = {"metric": metric, "value": f"{value:.4g}", "sign": SIGNS[kind], "bound": f"{bound:.4g}"}
    said = [
        " ".join(pair)
        for pair in zip(say("gate_point", **values), say("gate_holds" if holds else "gate_missed"), strict=True)
    ]
    return SpeedBound(
        metric=metric, kind=kind, bound=bound, value=value, holds=holds, sentence_en=said[0], sentence_zh=said[1]
    )


def _stored(store: Store, adopted: Adopted, trusted_key: str) -> GenerationVerdict | None:
    """The verdict there is, if this home signed it."""
    data = store.read(f"{adopted.bundle.key}.attest/{bundle.VERDICT}")
    try:
        found = None if data is None else GenerationVerdict.model_validate_json(data)
        if found is not None:
            signing.authenticate(found, adopted.bundle.digest, trusted_key)
    except (ValidationError, GateRefused):
        return None
    return found
