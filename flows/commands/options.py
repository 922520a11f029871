"""Options that several commands share, and how an answer is printed."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from data_contracts.limits import MOST_VERSION

Version = Annotated[int, typer.Argument(min=1, max=MOST_VERSION)]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        help="tiny, qwen3-0.6b, qwen3-1.7b, qwen3-4b-thinking; default: what settings.yaml in TINGSU_HOME names, else tiny",
    ),
]
Overlay = Annotated[list[str] | None, typer.Option("--overlay", help="more settings on top, such as production")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="one setting, section.key=value; may be repeated")]
TaxonomyFile = Annotated[
    Path | None, typer.Option("--taxonomy", readable=False, help="your categories; default: telecom")
]
Map = Annotated[str, typer.Option("--map", help="contract name=your column, comma-separated")]
Json = Annotated[bool, typer.Option("--json", help="answer in JSON")]


def show(value: Any, text: str, as_json: bool) -> None:
    """Print an answer: JSON for machines, the text for people."""
    print(json.dumps(value, ensure_ascii=False, indent=1, default=str) if as_json else text)
