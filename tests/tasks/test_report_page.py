"""The report of a submission as a browser shows it, on a wide screen and on a phone."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.dataset import DataSettings
from data_contracts import samples, taxonomy
from deploy.store import FolderStore
from tasks import accept
from tests.browser import Page, browser

pytestmark = pytest.mark.browser
SETTINGS = DataSettings(min_rows=50, min_rows_per_category=20, min_accepted_share=0.99)
WIDTHS = (1280, 390)
BOXES = "[...document.querySelectorAll('{}')].map(e => e.getBoundingClientRect()).map(r => [r.width, r.height, r.left, r.right])"


def messy() -> list[dict[str, object]]:
    """Calls that have everything a report can tell of: rejects, quarantine, warnings, two annotators, spellings, foreign columns."""
    keys = taxonomy.load().keys
    made = [dict(record) | {"annotator": "甲"} for record in samples.generate(260, seed=21)]
    second = [record | {"annotator": "乙"} for record in made[:60]]
    for at, record in enumerate(second[:15]):
        record["complaint_category"] = keys[(keys.index(str(record["complaint_category"])) + 1 + at % 2) % len(keys)]
    for at, label in enumerate(("Billing Dispute", "退款拖延", "a_category_of_ones_own_with_a_very_long_name", "")):
        made[100 + at]["complaint_category"] = label
    made[110]["confidence_score"] = 95
    made[111]["started_at"] = "昨天下午"
    made[112]["turns"] = [turn for turn in made[112]["turns"] if turn["speaker"] == "agent"]  # type: ignore[attr-defined]
    made[113] |= {"conversation_id": "an-id-" * 25, "客户编号": "x", "remark": "y"}
    return [*made, *second]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    path = folder / "导出的通话.jsonl"
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in messy()), encoding="utf-8")
    accept.check(path, taxonomy.load(), {}, SETTINGS, FolderStore(folder / "store"), folder / "out")
    return folder / "out" / "report.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window_and_nothing_is_asked_of_the_network(
    page: Page, report: Path, width: int, tmp_path: Path
) -> None:
    page.open(report.as_uri(), width)
    page.picture(tmp_path / f"report-{width}.png")

    assert page.ask("window.innerWidth") == width
    assert page.ask("document.documentElement.scrollWidth") <= width
    wide = [box for box in page.ask(BOXES.format("body *")) if box[3] > width + 0.5 or box[2] < -0.5]
    assert wide == []
    assert page.asked == [report.as_uri()]


@pytest.mark.parametrize("width", WIDTHS)
def test_bars_and_histogram_are_drawn(page: Page, report: Path, width: int) -> None:
    page.open(report.as_uri(), width)
    bars, bins = page.ask(BOXES.format(".bar")), page.ask(BOXES.format(".bars div"))
    calls = page.ask("[...document.querySelectorAll('td.chart')].map(e => e.nextElementSibling.textContent)")
    counts = [int(text.replace(",", "")) for text in calls]

    assert len(bars) == len(counts) == len(taxonomy.load().keys) and len(bins) > 5
    assert all(height >= 8 for _, height, *_ in bars) and max(bars)[0] > width / 6
    assert sorted(range(len(bars)), key=lambda at: counts[at])[-1] == max(range(len(bars)), key=lambda at: bars[at][0])
    assert max(height for _, height, *_ in bins) > 80 and all(one[0] > 1 for one in bins)
    colours = page.ask("['.bar', '.bars div'].map(s => getComputedStyle(document.querySelector(s)).backgroundColor)")
    assert all(colour not in ("rgba(0, 0, 0, 0)", "rgb(255, 255, 255)") for colour in colours)


@pytest.mark.parametrize("width", WIDTHS)
def test_everything_is_told_in_chinese_and_english_and_can_be_seen(page: Page, report: Path, width: int) -> None:
    page.open(report.as_uri(), width)
    seen = page.ask("document.body.innerText")

    for english, chinese in (
        ("would be refused", "将被退回"),
        ("rows in", "总行数"),
        ("What was found", "发现的问题"),
        ("Calls that several people labelled", "多人标注的通话"),
        ("Quarantined rows", "被隔离的行"),
        ("Rows with a warning", "有提示的行"),
        ("were not read", "未读取"),
    ):
        assert english in seen and chinese in seen
    assert "warnings.csv" in page.ask("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    small = page.ask(
        "[...document.querySelectorAll('td, p')].filter(e => parseFloat(getComputedStyle(e).fontSize) < 12).length"
    )
    assert small == 0
