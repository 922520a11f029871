"""Check a live service, endpoint by endpoint, as every rollout and `./tingsu verify URL` do (requirement T6)."""

import time
from collections.abc import Callable
from typing import Any, Literal

from data_contracts.errors import TingsuError
from data_contracts.schema import Call, Frozen
from deploy.client import Client
from deploy.emergency import EXPIRED

PROBE = Call(text="客户：上个月的账单多扣了三十块钱，我要投诉。\n客服：我马上为您核实。")
ASK = "用一句话回答：宽带断了应该先做什么？"
FEW_TOKENS = 16
STATE_S = 10.0
"""What says how it is, says so at once: a service that hangs is found out while its candidate's callers wait."""
EMPTY = "this service has no model in slot '{slot}'"
NO_THINKING = "the model cannot think"


class Check(Frozen):
    """One endpoint. `skipped` is not a failure: the slot does not have it."""

    name: str
    outcome: Literal["passed", "failed", "skipped"]
    detail: str
    ms: float = 0.0


def verify(
    url: str, timeout_s: float = 60.0, bundle_digest: str | None = None, key: str | None = None, side: str = ""
) -> list[Check]:
    """Every check, in order; a service that does not answer gives failed checks, not an error.

    Args:
        bundle_digest: if given, the service must be serving this very bundle.
        key: shown to a service that asks for one.
        side: of a service that holds two, as `Client`.
    """
    with Client(url, min(timeout_s, STATE_S), patience_s=0.0, key=key, side=side) as client:
        health = check("health", lambda: _health(client.health()))
        if health.outcome == "failed" and health.ms >= 1000 * client.timeout_s:
            return [health, *(_silent(name) for name in ("ready", "model_info", "classify", "generate", "thinking"))]
        state = [
            health,
            check("ready", lambda: _ready(client.ready())),
            check("model_info", lambda: _model_info(client.model_info(), bundle_digest)),
        ]
        info = client.model_info() if state[-1].outcome == "passed" else {"slot": "classify"}
    with Client(url, timeout_s, patience_s=timeout_s, key=key, side=side) as client:
        return [*state, _classified(client, info), *_generated(client, info)]


def _classified(client: Client, info: dict[str, Any]) -> Check:
    if info["slot"] != "classify":
        return Check(name="classify", outcome="skipped", detail=EMPTY.format(slot="classify"))
    return check("classify", lambda: _classify(client.classify([PROBE])[0], client.model_info()))


def _generated(client: Client, info: dict[str, Any]) -> list[Check]:
    """One text, and one that was thought about, where there is a model for them."""
    its = info if info["slot"] == "generate" else info.get("generate")
    if not its:
        return [_skipped(name, EMPTY.format(slot="generate")) for name in ("generate", "thinking")]
    text = check("generate", lambda: _generate(client.generate(ASK, FEW_TOKENS), its))
    if not its["can_think"]:
        return [text, _skipped("thinking", NO_THINKING)]
    return [text, check("thinking", lambda: _thinking(client.thinking(ASK, 1, FEW_TOKENS), its))]


def _silent(name: str) -> Check:
    return Check(name=name, outcome="failed", detail="not asked, for it does not even say how it is")


def _skipped(name: str, why: str) -> Check:
    return Check(name=name, outcome="skipped", detail=why)


def passed(checks: list[Check]) -> bool:
    """Whether nothing failed."""
    return all(check.outcome != "failed" for check in checks)


class Wrong(Exception):
    """What an endpoint answered is not right."""


def check(name: str, ask: Callable[[], str]) -> Check:
    """Ask, and note how it went; it went badly if `Wrong` or an error of ours is raised."""
    started = time.monotonic()
    outcome: Literal["passed", "failed"] = "failed"
    try:
        detail, outcome = ask(), "passed"
    except (TingsuError, Wrong) as error:
        detail = str(error)
    except (KeyError, TypeError, ValueError) as error:
        detail = f"the answer lacks a promised field or has another shape: {error!r}"
    return Check(name=name, outcome=outcome, detail=detail, ms=round((time.monotonic() - started) * 1000, 1))


def _health(body: dict[str, Any]) -> str:
    if body["status"] not in ("healthy", EXPIRED) or body["model_loaded"] is not True:
        raise Wrong(f"status {body['status']!r}, model_loaded {body['model_loaded']}")
    memory = body["memory_usage"]
    late = "its emergency verdict has expired; " if body["status"] == EXPIRED else ""
    return (
        f"{late}up {body['uptime_seconds']:.0f} s, memory {memory['percent']:.0f} %, GPU {memory['gpu_used_gb']:.1f} GB"
    )


def _ready(is_ready: bool) -> str:
    if not is_ready:
        raise Wrong("not ready")
    return "ready"


def _model_info(body: dict[str, Any], bundle_digest: str | None) -> str:
    if bundle_digest is not None and body["bundle_digest"] != bundle_digest:
        raise Wrong(f"serves bundle {body['bundle_digest'][:12]}, expected {bundle_digest[:12]}")
    what = f"{len(body['categories'])} categories" if body["slot"] == "classify" else "generates"
    return f"{body['model_version']} on {body['engine']} {body['quantization']}, {what}"


def _generate(answer: dict[str, Any], info: dict[str, Any]) -> str:
    if not 1 <= answer["tokens_used"] <= FEW_TOKENS or not isinstance(answer["generated_text"], str):
        raise Wrong(f"{answer['tokens_used']} tokens came, 1 to {FEW_TOKENS} were asked for")
    _require_version(answer, info)
    return f"{answer['tokens_used']} tokens in {answer['response_time']:.1f} s"


def _thinking(answer: dict[str, Any], info: dict[str, Any]) -> str:
    if answer["thinking_tokens"] < 1 or not isinstance(answer["final_answer"], str):
        raise Wrong("nothing was thought")
    _require_version(answer, info)
    return f"{answer['thinking_tokens']} of {answer['tokens_used']} tokens thought, {answer['response_time']:.1f} s"


def _require_version(answer: dict[str, Any], info: dict[str, Any]) -> None:
    if answer["model_version"] != info["model_version"]:
        raise Wrong(f"answered by {answer['model_version']}, but {info['model_version']} is served")


def _classify(answer: dict[str, Any], info: dict[str, Any]) -> str:
    shares = answer["probabilities"]
    if abs(sum(shares.values()) - 1) > 1e-3 or set(shares) != {c["key"] for c in info["categories"]}:
        raise Wrong("the probabilities do not sum to 1 over the categories")
    _require_version(answer, info)
    return f"{answer['category']['name_zh']} {answer['confidence']:.2f} {answer['decision']}"
