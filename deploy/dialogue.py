"""How a model is asked: messages to token ids by its own template, with or without thinking, and the tokens that end an answer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_contracts.artifacts import Thinks
from data_contracts.errors import ModelLoadError
from deploy.chat_template import ChatTemplate
from deploy.tokenizer import Tokens

THINK, END_THINK = "<think>", "</think>"
PROBE: tuple[Mapping[str, str], ...] = ({"role": "user", "content": "你好"},)


@dataclass(frozen=True)
class Dialogue:
    """A model's way to be asked. `thinks`: what its template does of itself; `stop_ids` end an answer.

    `end_think`: the ids that close the thinking, the first of which the model writes itself; empty where it cannot think.
    """

    template: ChatTemplate
    tokens: Tokens
    thinks: Thinks
    stop_ids: tuple[int, ...]
    end_think: tuple[int, ...]

    @classmethod
    def load(cls, folder: Path) -> "Dialogue":
        """Read tokenizer, template and configuration of a model folder.

        Raises:
            ModelLoadError: one of them is missing, or nothing ends an answer.
        """
        tokens, template = Tokens.load(folder), ChatTemplate.load(folder)
        stop_ids = _stop_ids(folder, tokens, template)
        thinks = _thinks(template, tokens)
        end = tokens.control_id(END_THINK)
        closing = () if thinks == "no" or end is None else (end, *tokens.text_ids("\n\n"))
        return cls(template, tokens, thinks, stop_ids, closing)

    @property
    def can_think(self) -> bool:
        return self.thinks != "no"

    def ids(self, messages: Sequence[Mapping[str, str]], thinking: bool) -> list[int]:
        """What the model continues: within its thinking, or after it.

        Raises:
            ValueError: the template refuses these messages; says why.
        """
        guarded = [{**message, "content": self._guarded(message)} for message in messages]
        text = self.template.render(guarded, enable_thinking=thinking)
        is_open = text.rstrip().endswith(THINK)
        if self.can_think and thinking and not is_open:
            text += f"{THINK}\n"
        if is_open and not thinking:
            text = f"{text.rstrip()}\n\n{END_THINK}\n\n"
        return self.tokens.rendered_ids(text)

    def _guarded(self, message: Mapping[str, str]) -> str:
        """A template leaves the thinking out of earlier answers, so it has to see where that ended."""
        said = message["content"]
        if message["role"] == "assistant":
            said = said.rpartition(END_THINK)[2].lstrip("\n")
        return self.tokens.guard(said)


def _thinks(template: ChatTemplate, tokens: Tokens) -> Thinks:
    """What the rendered template shows, and whether the vocabulary has the two tokens."""
    if tokens.control_id(THINK) is None or tokens.control_id(END_THINK) is None:
        return "no"
    asked, not_asked = (template.render(PROBE, enable_thinking=on).rstrip() for on in (True, False))
    if asked.endswith(THINK):
        return "if asked" if not_asked.endswith(END_THINK) else "always"
    return "if asked" if not_asked.endswith(END_THINK) and not asked.endswith(END_THINK) else "no"


def _stop_ids(folder: Path, tokens: Tokens, template: ChatTemplate) -> tuple[int, ...]:
    """The model's own ends, and that of a turn."""
    found: list[int] = []
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            value = json.loads((folder / name).read_text(encoding="utf-8")).get("eos_token_id")
            found += value if isinstance(value, list) else [] if value is None else [value]
    turn = tokens.control_id("<|im_end|>")
    if turn is not None and "<|im_end|>" in template.source:
        found.append(turn)
    if not found:
        raise ModelLoadError(f"{folder} says nowhere which token ends an answer; set eos_token_id in its config.json")
    return tuple(dict.fromkeys(found))
