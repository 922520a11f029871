"""What a call is: the record a user submits, and the record a model is trained on."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

Speaker = Literal["customer", "agent"]
SPEAKER_ZH: dict[str, str] = {"customer": "客户", "agent": "客服"}


PLACE = "place"
"""Marks a field (`Annotated[str, PLACE]`) that says where something lies or is done, not what it is: no stage key
covers it."""


class Frozen(BaseModel):
    """A value: immutable, no unknown fields, JSON in and out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A changed copy, without the cached properties of the original: its digest would be another value's."""
        made = super().model_copy(update=update, deep=deep)
        for name in made.__dict__.keys() - type(self).model_fields.keys():
            del made.__dict__[name]
        return made


class Turn(Frozen):
    """One utterance."""

    speaker: Speaker
    text: str


ONE_FORM: dict[str, Any] = {
    "oneOf": [
        {"required": ["text"], "properties": {"text": {"type": "string"}, "turns": {"type": "null"}}},
        {"required": ["turns"], "properties": {"turns": {"type": "array"}, "text": {"type": "null"}}},
    ]
}


def _written(moment: Any) -> Any:
    """pydantic would take a number for seconds since 1970."""
    if isinstance(moment, int | float):
        raise ValueError("write it as 2026-01-31T09:30:00")
    return moment


class Call(Frozen):
    """One call, as turns or as flat text; exactly one of the two."""

    model_config = ConfigDict(json_schema_extra=ONE_FORM)
    turns: tuple[Turn, ...] | None = None
    text: str | None = None
    conversation_id: str | None = None
    customer_id: str | None = None
    started_at: Annotated[datetime | None, BeforeValidator(_written)] = None
    channel: str | None = None
    region: str | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "Call":
        if (self.turns is None) == (self.text is None):
            raise ValueError("a call has either `turns` or `text`, exactly one of them")
        return self

    def flat(self) -> str:
        """The call as one text, a line a turn with the speaker's Chinese name before it."""
        return self.text if self.text is not None else flatten(self.turns or ())


def flatten(turns: tuple[Turn, ...]) -> str:
    """Turns as text, a line each: `客户：…`."""
    return "\n".join(f"{SPEAKER_ZH[t.speaker]}：{t.text}" for t in turns)
