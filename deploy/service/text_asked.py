"""What OpenAI's clients ask of model `generate`: which parameters are read, which cannot matter, and which are refused."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, StrictBool

from deploy.service.answers import NUMBER
from deploy.service.chat_asked import Common, Content, Only, in_lines
from deploy.service.written import MOST_TOKENS, Ask

GENERATE = "generate"


def _boolean(value: Any) -> Any:
    """Python takes 0 for False."""
    if not isinstance(value, bool):
        raise ValueError("Input should be a boolean")
    return value


ROLES = {"developer": "system"}
Count = Annotated[int, Field(ge=1, le=MOST_TOKENS), NUMBER]
Zero = Annotated[Annotated[Literal[0], NUMBER] | None, Only]
Word = Annotated[str, Field(min_length=1, max_length=64)]


class TextMessage(BaseModel):
    """One turn; its content as text, or as parts that are text."""

    model_config = ConfigDict(frozen=True)
    role: Literal["system", "developer", "user", "assistant"]
    content: Content

    def plain(self) -> dict[str, str]:
        """As templates take it."""
        return {"role": ROLES.get(self.role, self.role), "content": in_lines(self.content)}


class TemplateOptions(BaseModel):
    """As vLLM and LMDeploy have it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    enable_thinking: StrictBool = True


class TextAsked(Common):
    """`POST /v1/chat/completions` of model `generate`. Thinking counts among `max_tokens`; it is left out with
    `chat_template_kwargs: {"enable_thinking": false}` or `reasoning_effort: "none"`."""

    model: Literal["generate"]
    messages: Annotated[tuple[TextMessage, ...], FailFast(), Field(min_length=1)]
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2), NUMBER] | None = None
    top_p: Annotated[float, Field(gt=0, le=1), NUMBER] | None = None
    seed: Annotated[int, Field(ge=-(2**53), le=2**53), NUMBER] | None = None
    stop: Word | Annotated[tuple[Word, ...], Field(max_length=16)] | None = None
    chat_template_kwargs: TemplateOptions | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    n: Annotated[Annotated[Literal[1], NUMBER] | None, Only] = None
    logprobs: Annotated[Annotated[Literal[False], BeforeValidator(_boolean)] | None, Only] = None
    top_logprobs: Zero = None
    presence_penalty: Zero = None
    frequency_penalty: Zero = None

    def ask(self) -> Ask:
        """What the generator is asked; the temperature is 0.7 where none is given, as for /generate."""
        options = self.chat_template_kwargs
        thinks = (options is None or options.enable_thinking) and self.reasoning_effort != "none"
        words = (self.stop,) if isinstance(self.stop, str) else self.stop or ()
        seed = {} if self.seed is None else {"seed": self.seed % 2**31}
        return Ask(
            messages=tuple(message.plain() for message in self.messages),
            max_tokens=self.max_completion_tokens or self.max_tokens,
            thinking_tokens=None if thinks else 0,
            temperature=0.7 if self.temperature is None else self.temperature,
            top_p=self.top_p or 0.95,
            stop=words,
            **seed,
        )
