"""The written material of the generator, read once from the YAML beside this file."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from data_contracts.samples.grammar import Fill, Line, compile_lines
from data_contracts.samples.slots import slot_fills

FOLDER = Path(__file__).parent
FAMILIES = ("money", "network", "contract", "service")


@dataclass(frozen=True, slots=True)
class Scenario:
    id: str
    is_hard_negative: bool
    opening: tuple[Line, ...]
    detail: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Category:
    """One category's material. share: of all calls, 0 to 1. asides: the same trouble said as no trouble."""

    key: str
    share: float
    families: tuple[str, ...]
    confused_with: tuple[str, ...]
    agent: tuple[Line, ...]
    demand: tuple[Line, ...]
    asides: tuple[Line, ...]
    scenarios: tuple[Scenario, ...]


@dataclass(frozen=True, slots=True)
class Material:
    categories: dict[str, Category]
    common: dict[str, tuple[Line, ...]]
    vague: dict[str, tuple[Line, ...]]
    words: dict[str, list[str]]
    fills: dict[str, Fill]
    personal: dict[str, list[str]]
    ask: dict[str, tuple[Line, ...]]
    answer: dict[str, tuple[Line, ...]]


@cache
def load_material() -> Material:
    common, words, personal = (_read(FOLDER / f"{name}.yaml") for name in ("common", "words", "personal"))
    paths = sorted((FOLDER / "scenarios").glob("*.yaml"))
    return Material(
        categories={path.stem: _category(path) for path in paths},
        vague=_compiled(common.pop("vague")),
        common=_compiled(common),
        words=words,
        fills=slot_fills(words),
        ask=_compiled(personal.pop("ask")),
        answer=_compiled(personal.pop("answer")),
        personal=personal,
    )


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def _compiled(lines: dict[str, list[str]]) -> dict[str, tuple[Line, ...]]:
    return {name: compile_lines(texts) for name, texts in lines.items()}


def _category(path: Path) -> Category:
    content = _read(path)
    return Category(
        key=path.stem,
        share=content["share"],
        families=FAMILIES if content["family"] == "any" else (content["family"],),
        confused_with=tuple(content["confused_with"]),
        agent=compile_lines(content["agent"]),
        demand=compile_lines(content["demand"]),
        asides=compile_lines(content["aside"]),
        scenarios=tuple(_scenario(scenario) for scenario in content["scenarios"]),
    )


def _scenario(content: dict[str, Any]) -> Scenario:
    opening, detail = compile_lines(content["opening"]), compile_lines(content["detail"])
    return Scenario(content["id"], content.get("hard", False), opening, detail)
