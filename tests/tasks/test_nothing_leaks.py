"""Nothing of a person that a submitted file holds, wherever and however it stands there, is in anything that is written or said.

Every type, in each form it is dictated in (spoken, split over turns …), in calls that are accepted and in rows that are rejected; and in
ids, metadata, categories, headers, file names and lines that are broken.
"""

import json
import logging
from pathlib import Path
from random import Random

import polars as pl
import pytest
import yaml

from configs.dataset import DataSettings
from data_contracts import taxonomy
from data_contracts.errors import TingsuError
from data_contracts.personal import spoken
from deploy.store import FolderStore
from tasks import accept
from tests.data_contracts import planting
from tests.data_contracts.values import MAKERS

SETTINGS = DataSettings(min_rows=20, min_rows_per_category=2)
CATEGORIES = [c.key for c in taxonomy.load().categories]
EACH = 12


def cases(rng: Random) -> list[planting.Text]:
    """Calls with a planted piece of every type and form, all different."""
    return [case for case in planting.texts("first", EACH, rng.randrange(10**6)) if case.planted]


def secrets(case: planting.Text) -> set[str]:
    """What of a call must be nowhere: each part of a piece that is long enough not to occur by itself."""
    parts = {case.text[start:end] for piece in case.planted for start, end in piece.spans}
    wholes = {"".join(case.text[start:end] for start, end in piece.spans) for piece in case.planted}
    return {part for part in parts | wholes if len(part) > 6 or (not part.isascii() and len(part) > 2)}


def contents(folder: Path) -> dict[str, str]:
    """Every file below, as text, and every name."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    found = {
        str(p): pl.read_parquet(p).write_csv() if p.suffix == ".parquet" else p.read_text("utf-8", "replace")
        for p in files
    }
    return found | {"names": "\n".join(str(p.relative_to(folder)) for p in files)}


def leaks(texts: dict[str, str], planted: set[str]) -> list[tuple[str, str]]:
    """A value counts in any writing: as planted, folded, as plain digits."""
    forms = {
        value: {
            value,
            spoken.fold(value),
            spoken.plain(spoken.digits(value)) if len(spoken.plain(value)) > 6 else value,
        }
        for value in planted
    }
    return [
        (name, value)
        for name, text in texts.items()
        for value, ways in forms.items()
        if any(way in text for way in ways)
    ]


def submit(path: Path, folder: Path) -> str:
    """What was said, if it was refused."""
    try:
        accept.submit(path, taxonomy.load(), {}, "leaks", SETTINGS, FolderStore(folder / "store"), folder / "out")
    except TingsuError as error:
        return str(error)
    return ""


def test_no_form_of_any_type_is_in_what_is_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made = cases(Random(5))
    rows = [
        {
            "conversation_id": f"c{at}",
            "input_text": f"客服：第{at}通，您好\n{case.text}\n客服：好的，给您记下了，还有别的吗\n客户：没有了",
            "complaint_category": CATEGORIES[at % len(CATEGORIES)]
            if at % 15
            else "没有这一类",  # a fifteenth is rejected
        }
        for at, case in enumerate(made)
    ]
    path = tmp_path / "calls.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    said = submit(path, tmp_path)

    texts = contents(tmp_path / "out") | contents(tmp_path / "store") | {"said": said, "log": caplog.text}
    assert len(texts) > 15 and len(rows) // 15 <= sum(
        "没有这一类" in line for line in texts[str(tmp_path / "out" / "rejects.csv")].splitlines()
    )
    assert leaks(texts, set.union(*map(secrets, made))) == []


PARTS = {k: v.split() for k, v in yaml.safe_load((planting.FOLDER / "second.yaml").read_text("utf-8"))["parts"].items()}


def values() -> dict[str, str]:
    """One of each type, on one line."""
    rng = Random(8)
    return {
        kind: "".join(MAKERS[kind](rng, PARTS))
        for kind in ("mobile", "landline", "id_card", "bank_card", "email", "plate", "address", "name")
    }


@pytest.mark.parametrize("kind", values())
def test_no_other_cell_header_name_or_broken_line_tells(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    value = values()[kind]
    cell = f"call-{value}-01" if value.isdigit() else value
    good = [
        {
            "conversation_id": f"c{at}",
            "input_text": f"客户：第{at}次打来说网速慢",
            "complaint_category": CATEGORIES[at % 12],
        }
        for at in range(60)
    ]
    bad = [
        *(
            good[at] | {name: cell}
            for at, name in enumerate(
                ("conversation_id", "complaint_category", "started_at", "channel", "region", "confidence_score")
            )
        ),
        good[9] | {"turns": [{"speaker": cell, "text": "你好"}], "input_text": None},
        good[10] | {cell: "an unknown column"},
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in good + bad] + [
        f'{{"input_text": "{value}',
        value,
        f'["{value}"]',
    ]
    stem = spoken.fold(value)
    path = tmp_path / f"{stem if stem.isascii() and stem.isalnum() else 'calls'}.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    said = submit(path, tmp_path)
    sheet = tmp_path / "headless.csv"
    sheet.write_text(f'{value.replace(",", "")},第一行就是数据\n"{value}",x,y\n', encoding="utf-8")
    headless = submit(sheet, tmp_path / "sheet")

    texts = contents(tmp_path / "out") | contents(tmp_path / "store") | {"headless": headless, "log": caplog.text}
    texts["said"] = said.replace(str(path), "")  # the path as the user gave it
    assert headless
    assert leaks(texts, {value}) == []
