"""A model's own chat template: messages to the text it was trained to continue, rendered in a sandbox."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from data_contracts.errors import ModelLoadError

FILE = "chat_template.jinja"
CONFIG = "tokenizer_config.json"


class ChatTemplate:
    """One template, as checkpoints carry it; the environment is that of transformers."""

    def __init__(self, source: str, special: Mapping[str, str]) -> None:
        """`special`: tokens a template may name, such as `bos_token`.

        Raises:
            ModelLoadError: it is no template.
        """
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        env = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        env.filters["tojson"] = _tojson
        env.globals |= {"raise_exception": _refuse, "strftime_now": lambda how: datetime.now().strftime(how)}
        try:
            self._template = env.from_string(source)
        except TemplateError as error:
            raise ModelLoadError(
                f"the chat template cannot be read: {error}. Copy it from the checkpoint again"
            ) from error
        self._special = dict(special)
        self.source = source

    @classmethod
    def load(cls, folder: Path) -> "ChatTemplate":
        """The template of a checkpoint folder.

        Raises:
            ModelLoadError: it has none.
        """
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        except FileNotFoundError:
            config = {}
        except ValueError as error:
            raise ModelLoadError(f"{folder / CONFIG} is damaged; copy it from the checkpoint again") from error
        file = folder / FILE
        source = file.read_text(encoding="utf-8") if file.is_file() else _default(config.get("chat_template"))
        if not source:
            raise ModelLoadError(
                f"{folder} has no chat template ({FILE}, or chat_template in {CONFIG}), so nobody knows how to ask the "
                "model; take the instruct or thinking checkpoint, not the base, or copy the file from it"
            )
        return cls(
            source, {name: _content(value) for name, value in config.items() if name.endswith("_token") and value}
        )

    def render(self, messages: Sequence[Mapping[str, Any]], enable_thinking: bool) -> str:
        """The text up to where the model goes on.

        Raises:
            ValueError: the template refuses these messages; says why.
        """
        from jinja2 import TemplateError

        asked = {"messages": messages, "add_generation_prompt": True, "enable_thinking": enable_thinking}
        try:
            return str(self._template.render(**self._special, **asked))
        except (TemplateError, TypeError) as error:
            raise ValueError(str(error)) from error


def _default(value: Any) -> str:
    """A checkpoint has one template, or several with names."""
    if isinstance(value, list):
        return next((str(each["template"]) for each in value if each.get("name") == "default"), "")
    return str(value or "")


def _content(value: Any) -> str:
    return str(value["content"]) if isinstance(value, dict) else str(value)


def _tojson(value: Any, ensure_ascii: bool = False, **how: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **how)


def _refuse(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)
