"""What OpenAI's clients ask of model `complaints`: which parameters are read, which cannot matter, and which are refused."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from data_contracts.schema import Call, Frozen

MODEL = "complaints"
MOST_LOGPROBS = 64  # categories a bundle may have; OpenAI itself stops at 20


class Part(BaseModel):
    """A piece of a message; text alone can be classified."""

    model_config = ConfigDict(frozen=True)
    type: Literal["text"]
    text: str


Content = str | tuple[Part, ...]


def in_lines(content: Content) -> str:
    """A message's content, its parts as lines."""
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


class UserMessage(BaseModel):
    """What is classified, if it is the last of its kind."""

    model_config = ConfigDict(frozen=True)
    role: Literal["user"]
    content: Content

    def text(self) -> str:
        """Parts are lines of one call."""
        return in_lines(self.content)


class OtherMessage(BaseModel):
    """Not read: the instruction and the examples are the bundle's own."""

    model_config = ConfigDict(frozen=True)
    role: Literal["system", "developer", "assistant", "tool", "function"]
    content: Any = None


class StreamOptions(BaseModel):
    """Whether a last chunk tells the usage."""

    model_config = ConfigDict(frozen=True)
    include_usage: StrictBool = False


class JsonText(Frozen):
    """The one response format that changes nothing."""

    type: Literal["text"]


def _with_user(messages: tuple[UserMessage | OtherMessage, ...]) -> tuple[UserMessage | OtherMessage, ...]:
    if not any(isinstance(message, UserMessage) for message in messages):
        raise ValueError("there is no user message, and the last user message is what is classified")
    return messages


def _only(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(value)
    except ValidationError as error:
        raise PydanticCustomError("unsupported_parameter", "it asks for what this model does not do") from error


Only = WrapValidator(_only)
"""Marks a parameter that may be sent, and only with the value it has anyway: any other would change the answer."""
Nothing = Annotated[tuple[()] | None, Only]


class Common(Frozen):
    """What both models take alike: how the answer comes, what they refuse, and what neither reads."""

    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    tools: Nothing = None
    functions: Nothing = None
    tool_choice: Annotated[Literal["none", "auto"] | None, Only] = None
    function_call: Annotated[Literal["none", "auto"] | None, Only] = None
    response_format: Annotated[JsonText | None, Only] = None
    modalities: Annotated[tuple[Literal["text"]] | None, Only] = None
    audio: Annotated[None, Only] = None
    logit_bias: Annotated[None, Only] = None
    web_search_options: Annotated[None, Only] = None
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    parallel_tool_calls: Any = None
    prediction: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    safety_identifier: Any = None
    verbosity: Any = None

    @property
    def has_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage


class ChatAsked(Common):
    """`POST /v1/chat/completions`. Sampling has no meaning here: a classification is one prefill and nothing is drawn."""

    model: Annotated[str, Field(json_schema_extra={"not": {"const": "generate"}})]
    messages: Annotated[
        tuple[Annotated[UserMessage | OtherMessage, Field(discriminator="role")], ...],
        FailFast(),
        Field(min_length=1, json_schema_extra={"contains": {"properties": {"role": {"const": "user"}}}}),
        AfterValidator(_with_user),
    ]
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    n: Annotated[Literal[1] | None, Only] = None
    temperature: Any = None
    top_p: Any = None
    top_k: Any = None
    min_p: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    stop: Any = None
    seed: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    repetition_penalty: Any = None
    reasoning_effort: Any = None

    def call(self) -> Call:
        """The last user message as a call."""
        return Call(text=next(m.text() for m in reversed(self.messages) if isinstance(m, UserMessage)))

    @property
    def shares(self) -> int | None:
        """How many category probabilities are asked for beside the answer's own; None for none at all."""
        return self.top_logprobs or 0 if self.logprobs or self.top_logprobs else None


EXAMPLES = {
    "最少": {
        "value": {"model": MODEL, "messages": [{"role": "user", "content": "上个月多扣了我三十块钱，我要投诉。"}]}
    },
    "带概率": {
        "value": {
            "model": MODEL,
            "messages": [
                {"role": "system", "content": "系统消息不参与分类"},
                {"role": "user", "content": [{"type": "text", "text": "客户：宽带断了三天没人来修。"}]},
            ],
            "logprobs": True,
            "top_logprobs": 3,
        }
    },
}
