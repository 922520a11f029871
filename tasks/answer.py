"""The answer to a submission, for a person: rejects.csv to mend the file by, and a report to forward."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts import messages
from data_contracts.taxonomy import Taxonomy
from tasks import spreadsheet

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
SHOWN_REJECTS = 200
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


def write(out: Path, summary: Mapping[str, Any], rejects: "pl.DataFrame", taxonomy: Taxonomy) -> None:
    """rejects.csv (opens in a spreadsheet), rejects.parquet, summary.json and report.html, into `out`."""
    rejects.write_parquet(out / REJECTS_PARQUET)
    spreadsheet.inert(rejects).write_csv(out / REJECTS, include_bom=True)
    (out / SUMMARY).write_text(json.dumps(summary, ensure_ascii=False, indent=1), encoding="utf-8")
    (out / REPORT).write_text(_report(summary, rejects, taxonomy), encoding="utf-8")


def copy(out: Path, target: Path) -> None:
    """The answer alone, whatever else lies in `out`."""
    shutil.copytree(out / DOCS, target / DOCS)
    for name in (REJECTS, REJECTS_PARQUET, SUMMARY, REPORT):
        shutil.copyfile(out / name, target / name)


def _report(summary: Mapping[str, Any], rejects: "pl.DataFrame", taxonomy: Taxonomy) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    most = max([*summary["categories"].values(), 1])
    bars = [
        (c.key, c.name_zh, summary["categories"][c.key], summary["categories"][c.key] / most)
        for c in taxonomy.categories
    ]
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        summary=summary,
        bars=bars,
        reasons=_reasons(rejects),
        masked=[
            (*MASKED_ZH[kind], count) for kind, count in sorted(summary["masked"].items(), key=lambda item: -item[1])
        ],
        rejects=rejects.head(SHOWN_REJECTS).to_dicts(),
        left_out=max(0, rejects.height - SHOWN_REJECTS),
    )


def _reasons(rejects: "pl.DataFrame") -> list[dict[str, Any]]:
    """Each reason once, the most frequent first, with its first row as the example."""
    import polars as pl

    grouped = rejects.group_by("code", maintain_order=True).agg(
        pl.col("row").n_unique().alias("rows"), pl.exclude("row", "code").first()
    )
    reasons: list[dict[str, Any]] = grouped.sort("rows", descending=True).to_dicts()
    return reasons


def warnings(summary: Mapping[str, Any], least: int, max_chars: int) -> list[dict[str, str]]:
    """What the file cannot teach, or what was done to it; said, never refused."""
    said = [messages.say("absent_category", category=key) for key, rows in summary["categories"].items() if rows == 0]
    rare = {key: rows for key, rows in summary["categories"].items() if 0 < rows < least}
    said += [messages.say("rare_category", category=key, rows=rows, least=least) for key, rows in rare.items()]
    for code in ("shortened_calls", "same_text_calls", "personal_ids", "confidence_assumed"):
        if summary[code]:
            said.append(messages.say(code, rows=summary[code], most=max_chars))
    if summary.get("agreement"):
        said.append(agreed(summary["agreement"]))
    return [{"en": en, "zh": zh} for en, zh in said]


def agreed(found: Mapping[str, Any]) -> tuple[str, str]:
    """How well the annotators of a file agree (`agreement.Agreement`), in English and Chinese."""
    kappa = "–" if found["kappa"] is None else f"{found['kappa']:.2f}"
    return messages.say("annotators", **{**found, "kappa": kappa})
