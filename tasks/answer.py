"""The answer to a submission, for a person: rejects.csv to mend the file by, and a report to forward."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from data_contracts import messages
from data_contracts.messages import Said
from data_contracts.taxonomy import Taxonomy
from tasks import spreadsheet
from tasks.calls import ABOUT

if TYPE_CHECKING:
    import polars as pl

TEMPLATE = Path(__file__).with_name("answer.html")
REJECTS, REJECTS_PARQUET, REPORT, SUMMARY, DOCS = (
    "rejects.csv",
    "rejects.parquet",
    "report.html",
    "summary.json",
    "data_docs",
)
DOUBTS, QUARANTINE = "quarantine.csv", "quarantine.parquet"  # why rows are kept apart, and those rows, masked
WARNINGS, WARNINGS_PARQUET = "warnings.csv", "warnings.parquet"  # what was found in rows that may well be accepted
FILES = {
    "rejects": (REJECTS, REJECTS_PARQUET),
    "quarantine": (DOUBTS, QUARANTINE),
    "warnings": (WARNINGS, WARNINGS_PARQUET),
}
KEPT = ("row", "conversation_id", *ABOUT)
SHOWN_REJECTS = 50
SHOWN_COLUMNS = 20
VERDICTS = {  # passed, kept
    (True, True): "accepted 已接受",
    (False, True): "refused 已退回",
    (True, False): "would be accepted 可以接受",
    (False, False): "would be refused 将被退回",
}
SEVERITIES = {
    "reject": ("rejected", "拒绝"),
    "quarantine": ("quarantined", "隔离"),
    "duplicate": ("taken once", "只取一次"),
    "warn": ("told only", "仅提示"),
}
MASKED_ZH = {
    "mobile": ("mobile number", "手机号"),
    "landline": ("landline", "座机"),
    "id_card": ("ID card", "身份证"),
    "bank_card": ("bank card", "银行卡"),
    "email": ("e-mail", "邮箱"),
    "plate": ("number plate", "车牌"),
    "address": ("address", "地址"),
    "name": ("name", "姓名"),
}


class Answered(Protocol):
    """What of `validate.Checked` is written down."""

    @property
    def quarantined(self) -> "pl.DataFrame": ...
    @property
    def rejects(self) -> "pl.DataFrame": ...
    @property
    def doubts(self) -> "pl.DataFrame": ...
    @property
    def warned(self) -> "pl.DataFrame": ...
    @property
    def conflicts(self) -> list[dict[str, Any]]: ...


def write(out: Path, summary: Mapping[str, Any], checked: "Answered", taxonomy: Taxonomy) -> None:
    """The lists of `FILES`, as CSV that opens in a spreadsheet and as Parquet, summary.json, report.html."""
    checked.rejects.write_parquet(out / REJECTS_PARQUET)
    checked.warned.write_parquet(out / WARNINGS_PARQUET)
    checked.quarantined.select(KEPT).write_parquet(out / QUARANTINE)
    for name, rows in ((REJECTS, checked.rejects), (DOUBTS, checked.doubts), (WARNINGS, checked.warned)):
        spreadsheet.inert(rows).write_csv(out / name, include_bom=True)
    (out / SUMMARY).write_text(json.dumps(summary, ensure_ascii=False, indent=1), encoding="utf-8")
    (out / REPORT).write_text(_report(summary, checked, taxonomy), encoding="utf-8")


def write_unread(out: Path, about: Mapping[str, str], said: Said) -> dict[str, Any]:
    """report.html and summary.json of a file that could not be read as calls, so of no rows.

    Args:
        about: its `name` and `file`, as they may be shown.
    """
    summary = {
        **about,
        "passed": False,
        "rows": None,
        "refusals": [said._asdict()],
        "cautions": [],
        "report": str(out / REPORT),
    }
    (out / SUMMARY).write_text(json.dumps(summary, ensure_ascii=False, indent=1), encoding="utf-8")
    (out / REPORT).write_text(_rendered(summary=summary, verdict=VERDICTS[False, True]), encoding="utf-8")
    return summary


def copy(out: Path, target: Path) -> None:
    """The answer alone, whatever else lies in `out`."""
    shutil.copytree(out / DOCS, target / DOCS)
    for name in (*(name for names in FILES.values() for name in names), SUMMARY, REPORT):
        shutil.copyfile(out / name, target / name)


def _report(summary: Mapping[str, Any], checked: "Answered", taxonomy: Taxonomy) -> str:
    people = sorted({row for pair in (summary["agreement"] or {"pairs": ()})["pairs"] for row in pair["rows"]})
    most = max([*summary["categories"].values(), 1])
    names = {c.key: c.name_zh for c in taxonomy.categories}
    lessons = [one | {"name": names[one["category"]], "bar": one["calls"] / most} for one in summary["lessons"]]
    return _rendered(
        summary=summary,
        lessons=lessons,
        verdict=VERDICTS[summary["passed"], summary["is_kept"]],
        names=names,
        highest=max([rows for _, rows in summary["lengths"]] or [1]),
        severities=SEVERITIES,
        masked=[
            (*MASKED_ZH[kind], count) for kind, count in sorted(summary["masked"].items(), key=lambda item: -item[1])
        ],
        people={row: chr(ord("A") + at) for at, row in enumerate(people)},
        conflicts=checked.conflicts,
        lists=[
            ("Rejected rows", "被拒绝的行", REJECTS, *_first(checked.rejects)),
            ("Quarantined rows", "被隔离的行", DOUBTS, *_first(checked.doubts)),
            ("Rows with a warning", "有提示的行", WARNINGS, *_first(checked.warned)),
        ],
    )


def _rendered(**values: object) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(**values)


def _first(rows: "pl.DataFrame") -> tuple[list[dict[str, Any]], int]:
    """What is shown of a list, and how many entries are not."""
    return rows.head(SHOWN_REJECTS).to_dicts(), max(0, rows.height - SHOWN_REJECTS)


def warnings(summary: Mapping[str, Any], least: int, max_chars: int) -> list[dict[str, str]]:
    """What the file cannot teach, or what was done to it; said, never refused."""
    said: list[tuple[str, str]] = []
    absent = [f"'{key}'" for key, rows in summary["categories"].items() if rows == 0]
    rare = [f"'{key}' ({rows})" for key, rows in summary["categories"].items() if 0 < rows < least]
    for code, named in (("absent_categories", absent), ("rare_categories", rare)):
        if named:
            said.append(messages.say(code, named=", ".join(named), least=least))
    for code in ("shortened_calls", "same_text_calls", "personal_ids", "confidence_assumed"):
        if summary[code]:
            said.append(messages.say(code, rows=summary[code], most=max_chars))
    short = [
        lesson for lesson in summary["lessons"] if lesson["calls"] and lesson["gold"] < summary["gold_calls_needed"]
    ]
    if short:
        widest = max(lesson["half_width"] for lesson in short)
        values = {"categories": len(short), "of": len(summary["lessons"]), "widest": widest}
        said.append(messages.say("hard_to_measure", **values, needed=summary["gold_calls_needed"]))
    if summary["ignored_columns"]:
        said.append(_ignored(summary["ignored_columns"], summary["likely_columns"]))
    if summary.get("agreement"):
        said.append(agreed(summary["agreement"]))
    return [{"en": en, "zh": zh} for en, zh in said]


def _ignored(names: Sequence[str], likely: Mapping[str, str]) -> tuple[str, str]:
    """Columns that nobody read, and what some of them may be."""
    shown = ", ".join(names[:SHOWN_COLUMNS]) + (
        f" + {len(names) - SHOWN_COLUMNS}" if len(names) > SHOWN_COLUMNS else ""
    )
    if not likely:
        return messages.say("ignored_columns", names=shown)
    option = ",".join(f"{name}={column}" for name, column in likely.items())
    return messages.say("likely_columns", names=shown, option=option)


def agreed(found: Mapping[str, Any]) -> tuple[str, str]:
    """How well the annotators of a file agree (`agreement.Agreement`), in English and Chinese."""
    kappa = "–" if found["kappa"] is None else f"{found['kappa']:.2f}"
    return messages.say("annotators", **{**found, "kappa": kappa})
