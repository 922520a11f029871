"""What is asked and answered over HTTP: `{text}`, `{turns}` or `{calls: […]}` in, one answer a call out, in order."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import Body
from pydantic import (
    BeforeValidator,
    Discriminator,
    FailFast,
    Field,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError, PydanticSerializationError

from data_contracts.artifacts import Calibration, Emergency, Verdict
from data_contracts.messages import say
from data_contracts.prompt import Encoded
from data_contracts.schema import Call, Frozen
from deploy import calibration
from deploy.bundle import Bundle, verdict_id
from deploy.emergency import Moment, is_over
from deploy.engines import Scores

RAW_FIELDS = {"logprobs": True, "label_mass": True}
"""Of an answer; only those under evaluation carry them."""


class Calls(Frozen):
    """A batch."""

    calls: Annotated[tuple[Call, ...], FailFast()] = Field(min_length=1)


def _form(body: Any) -> str:
    return "calls" if isinstance(body, Calls) or (isinstance(body, dict) and "calls" in body) else "call"


def _whole(body: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """JSON may hold half a character (a lone surrogate), and lists in lists; nothing behind this point can write them.

    And of a body that is wrong in a million places, naming them takes longer than anybody's deadline, with the whole service waiting.
    """
    try:
        asked = read(body)
    except ValidationError as error:
        if error.error_count() <= MOST_WRONG:
            raise
        raise PydanticCustomError("too_many_wrong", "More than {most} fields are wrong", {"most": MOST_WRONG}) from None
    try:
        asked.model_dump_json()
    except PydanticSerializationError as error:
        raise ValueError(
            "a text holds half a character (a lone surrogate), or what is not read is nested too deep; send whole Unicode, and less deep"
        ) from error
    return asked


MOST_WRONG = 200
WHOLE = WrapValidator(_whole)
"""For every body."""


def _number(value: Any) -> Any:
    """pydantic would take `true` and "5" for numbers; JSON Schema, and so our document, does not, but 5.0 for a whole one."""
    if isinstance(value, bool | str):
        raise ValueError("Input should be a number")
    return value


NUMBER = BeforeValidator(_number)
EXAMPLES = {
    "text": {"value": {"text": "客户：上个月多扣了我三十块钱，我要投诉。\n客服：我帮您查一下账单。"}},
    "turns": {
        "value": {
            "turns": [
                {"speaker": "customer", "text": "宽带断了三天没人来修。"},
                {"speaker": "agent", "text": "马上为您催单。"},
            ]
        }
    },
    "calls": {"value": {"calls": [{"conversation_id": "c-1", "text": "我想查一下流量还剩多少。"}]}},
}
Asked = Annotated[
    Annotated[Call, WHOLE, Tag("call")] | Annotated[Calls, WHOLE, Tag("calls")],
    Discriminator(_form),
    Body(openapi_examples=EXAMPLES),
]


class CategoryName(Frozen):
    """A category as a caller sees it."""

    key: str
    code: str
    name_zh: str


class Reason(Frozen):
    """Why a person should look at this call."""

    code: str
    en: str
    zh: str


class Answer(Frozen):
    """One call's category. `synthetic`: the model learned from generated calls. `truncated` counts tokens left out; at least so
    many, where a call is so long that what lies within it is not even read.

    Under evaluation also `evaluation`, the raw `logprobs` in taxonomy order, and `label_mass`.
    """

    conversation_id: str | None = None
    category: CategoryName
    probabilities: dict[str, float]
    confidence: float
    decision: Literal["auto", "review"]
    reasons: tuple[Reason, ...]
    model_version: str
    verdict_id: str | None
    synthetic: bool
    tokens: int
    truncated: int
    evaluation: bool = False
    logprobs: tuple[float, ...] | None = None
    label_mass: float | None = None


class Answers(Frozen):
    """The answers to a batch, in its order."""

    results: tuple[Answer, ...]
    model_version: str
    evaluation: bool = False


@dataclass(frozen=True)
class Served:
    """What answers: a bundle, the verdict that lets it (None: evaluation), and its registered version if it has one.

    `admitted`: when the verdict was checked; an emergency verdict counts its hours from then, whatever the clock is set to."""

    bundle: Bundle
    verdict: Verdict | Emergency | None
    version: int | None = None
    admitted: Moment = field(default_factory=Moment.now, compare=False)

    @property
    def is_evaluation(self) -> bool:
        return self.verdict is None

    @property
    def emergency(self) -> Emergency | None:
        return self.verdict if isinstance(self.verdict, Emergency) else None

    @property
    def is_overdue(self) -> bool:
        """Whether the emergency verdict by which it was admitted has expired: it serves on, and nothing admits it again."""
        return self.emergency is not None and is_over(self.emergency, self.admitted)

    @property
    def model_version(self) -> str:
        """Always with the bundle's digest: `12+3fa9c1d2e4b5`, or the digest alone."""
        digest = self.bundle.digest[:12]
        return digest if self.version is None else f"{self.version}+{digest}"


@dataclass(frozen=True)
class Rules:
    """What sends a call to a person: the calibration with the threshold in force, and the keys of categories that always do."""

    calibration: Calibration
    categories: frozenset[str] = frozenset()

    def more(self, call: Call, category: str) -> list[str]:
        """Reasons beside those of the numbers."""
        found = ["reviewed_category"] if category in self.categories else []
        return found if call.flat().strip() else [*found, "empty_call"]


def compose(
    calls: Sequence[Call], encoded: Sequence[Encoded], scores: Scores, served: Served, rules: Rules
) -> list[Answer]:
    """Calibrated answers; under evaluation they are marked and carry the raw numbers."""
    bundle = served.bundle
    probabilities = calibration.apply(rules.calibration, scores.logprobs)
    decided = calibration.decide(rules.calibration, probabilities, scores.label_mass)
    answers = []
    for i, (call, prompt) in enumerate(zip(calls, encoded, strict=True)):
        category = bundle.taxonomy.categories[int(decided.predicted[i])]
        reasons = [*decided.reasons[i], *rules.more(call, category.key)]
        answers.append(
            Answer(
                conversation_id=call.conversation_id,
                category=CategoryName(key=category.key, code=category.code, name_zh=category.name_zh),
                probabilities=dict(zip(bundle.taxonomy.keys, probabilities[i].tolist(), strict=True)),
                confidence=float(decided.confidence[i]),
                decision="review" if reasons else "auto",
                reasons=tuple(_reason(code) for code in reasons),
                model_version=served.model_version,
                verdict_id=None if served.verdict is None else verdict_id(served.verdict),
                synthetic=bundle.facts.synthetic,
                tokens=len(prompt.ids),
                truncated=prompt.truncated,
                **(_raw(scores, i) if served.is_evaluation else {}),
            )
        )
    return answers


def _raw(scores: Scores, i: int) -> dict[str, Any]:
    finite = np.maximum(scores.logprobs[i], -1e4)  # JSON has no infinity
    return {"evaluation": True, "logprobs": tuple(finite.tolist()), "label_mass": float(scores.label_mass[i])}


def _reason(code: str) -> Reason:
    en, zh = say(code)
    return Reason(code=code, en=en, zh=zh)
