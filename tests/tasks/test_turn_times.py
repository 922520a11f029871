"""When turns were said: whatever way a platform writes it, order, begin and end of the call are held against it."""

import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from configs.dataset import DataSettings
from data_contracts import taxonomy
from deploy.store import FolderStore
from tasks import accept

SETTINGS = DataSettings(min_rows=10, min_rows_per_category=2, min_accepted_share=0.0)
BEGIN, END = "2026-01-05T09:30:00", "2026-01-05T09:31:00"
SAID = ("您好请讲", "宽带断了三天没有人来修", "给您登记好了", "好的谢谢")
Times = Sequence[tuple[object, object]]


def turns(times: Times, start: str = "start", end: str = "end") -> list[dict[str, object]]:
    return [
        {"speaker": ("agent", "customer")[at % 2], "text": words, start: first, end: last}
        for at, (words, (first, last)) in enumerate(zip(SAID, times, strict=True))
    ]


def told(folder: Path, *calls: dict[str, object], settings: DataSettings = SETTINGS) -> list[set[str]]:
    """Of each call the codes that speak of its turns."""
    filler = [call(turns([(0, 1)] * 4)) for _ in range(20)]
    rows = [
        each | {"conversation_id": f"c{at}", "complaint_category": taxonomy.load().keys[at % 3]}
        for at, each in enumerate([*calls, *filler])
    ]
    path, out = folder / "calls.jsonl", folder / "out"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    accept.check(path, taxonomy.load(), {}, settings, FolderStore(folder / "store"), out)
    lists = [pl.read_csv(out / f"{name}.csv") for name in ("quarantine", "warnings", "rejects")]
    found = [
        (row, code)
        for each in lists
        for row, code in each.filter(pl.col("column") == "turns")["row", "code"].iter_rows()
    ]
    return [{code for row, code in found if row == at} for at in range(1, len(calls) + 1)]


def call(said: list[dict[str, object]], begin: str | None = BEGIN, end: str | None = END) -> dict[str, object]:
    return {"turns": said, "started_at": begin, "ended_at": end}


SECONDS = [(0, 2.5), (2.0, 9), (10, 20), (30, 58.0)]
FINE = {
    "seconds": turns(SECONDS),
    "milliseconds": turns([(0, 2500), (2000, 9000), (10_000, 20_000), (30_000, 58_000)]),
    "named milliseconds": turns([(0, 2500), (2000, 9000), (9000, 9000), (9000, 58_000)], "start_ms", "end_ms"),
    "texts": turns([("0", "2.5"), ("2", "9"), ("10", "20"), ("30", "58")], "begin", "finish"),
    "clock": turns([("00:00", "00:02.5"), ("00:02", "00:09"), ("0:10", "0:20"), ("00:00:30", "00:00:58")]),
    "hours and minutes": turns([("09:30", "09:30"), ("09:30", "09:31"), ("09:31", "09:31"), ("09:31", None)]),
    "moments": turns([(f"2026-01-05 09:30:{a:02}", None) for a in (0, 2, 10, 58)], "start_time", "end_time"),
    "since 1970": turns([(1_767_605_400 + a, None) for a in (0, 2, 10, 58)]),
    "only ends": turns([(None, end) for _, end in SECONDS]),
    "some": turns([(None, None), (2, 3), (None, None), (5, 6)]),
    "empty": turns([("", None)] * 4),
}


def test_times_in_order_within_the_call_say_nothing_however_they_are_written(tmp_path: Path) -> None:
    assert dict(zip(FINE, told(tmp_path, *(call(said) for said in FINE.values())), strict=True)) == {
        name: set() for name in FINE
    }


WRONG = {
    "turn_out_of_order": [
        call(turns([(0, 2), (10, 12), (5, 6), (20, 22)])),
        call(turns([(0, 2), (3, 9), (12, 10), (20, 22)])),
        call(turns([("00:10", None), ("00:05", None), ("00:20", None), ("00:30", None)])),
        call(turns([(9000, None), (2000, None), (20_000, None), (30_000, None)])),
    ],
    "turn_before_call": [
        call(turns([(-3, 2), (3, 4), (5, 6), (7, 8)])),
        call(turns([(f"2026-01-05 09:{a}", None) for a in ("28:00", "30:02", "30:10", "30:20")])),
    ],
    "turn_after_call": [
        call(turns([(0, 2), (3, 4), (5, 6), (70, 80)])),
        call(turns([(0, 2000), (3000, 4000), (5000, 6000), (58_000, 90_000)])),
        call(turns([(f"2026-01-05 09:{a}", None) for a in ("30:00", "30:02", "30:10", "35:00")])),
        call(turns([(a, None) for a in ("09:30", "09:31", "09:33", "09:35")])),
        call(turns([(a, None) for a in ("04:30", "04:40", "05:00", "05:01")])),  # as near to the begin as late: minutes
    ],
    "bad_turn_time": [
        call(turns([(0, 2), ("soon", 4), (5, 6), (7, 8)])),
        call(turns([(0, 2), (True, 4), (5, 6), (7, 8)])),
        call(turns([(0, 2), ([3], 4), (5, 6), (7, 8)])),
        call(turns([(0, 2), ("00:00:03", None), (5, 6), (7, 8)])),
        call(turns([(0, 2), ("nan", 4), (5, 6), (7, 8)])),
    ],
}


def test_each_wrong_time_has_its_code(tmp_path: Path) -> None:
    expected = [code for code, calls in WRONG.items() for _ in calls]

    assert told(tmp_path, *(each for calls in WRONG.values() for each in calls)) == [{code} for code in expected]


def test_reason_and_remedy_name_the_turn_in_both_languages_and_the_row_is_kept_apart(tmp_path: Path) -> None:
    told(tmp_path, WRONG["turn_out_of_order"][0], WRONG["turn_after_call"][0])
    first, second = pl.read_csv(tmp_path / "out" / "quarantine.csv").to_dicts()

    assert "turn 3 starts before an earlier turn" in first["reason_en"] and "第 3 轮" in first["reason_zh"]
    assert "sort the turns" in first["remedy_en"] and "排列轮次" in first["remedy_zh"]
    assert (
        "20 s after the call ended; at most 5 s" in second["reason_en"]
        and "data.max_turn_overrun_s" in second["remedy_zh"]
    )


def test_a_family_says_what_a_wrong_time_is_to_it(tmp_path: Path) -> None:
    own = SETTINGS.model_copy(update={"severities": {"turn_out_of_order": "reject"}, "max_turn_overrun_s": 30.0})
    found = told(tmp_path, WRONG["turn_out_of_order"][0], WRONG["turn_after_call"][0], settings=own)

    assert found == [{"turn_out_of_order"}, set()]
    assert pl.read_csv(tmp_path / "out" / "rejects.csv")["code"].to_list() == ["turn_out_of_order"]


@pytest.mark.parametrize("begin", [None, "2026-01-05T09:30:00+08:00"])
def test_where_the_begin_is_unknown_or_in_another_zone_only_the_order_counts(tmp_path: Path, begin: str | None) -> None:
    said = turns([(f"2026-01-05 03:{a}", None) for a in ("30:00", "30:02", "30:10", "30:20")])
    swapped = turns([(f"2026-01-05 03:{a}", None) for a in ("30:00", "30:12", "30:10", "30:20")])

    assert told(tmp_path, call(said, begin, None), call(swapped, begin, None)) == [set(), {"turn_out_of_order"}]


def at(*clocks: str, begin: str | None = "2026-01-05 14:05:00", end: str | None = None) -> dict[str, object]:
    """A call whose turns have these times of day."""
    return call(turns([(clock, None) for clock in clocks]), begin, end)


OF_DAY = {
    "within the call": at("14:05:00", "14:05:05", "14:05:10", "14:14:59", end="2026-01-05 14:15:00"),
    "over midnight": at("23:59:50", "23:59:55", "00:00:00", "00:00:05", begin="2026-01-05 23:59:50"),
    "after midnight": at("00:00:02", "00:00:05", "00:00:09", "00:00:20", begin="2026-01-05 23:59:59"),
    "soon after midnight": at("00:10:02", "00:10:05", "00:10:09", "00:10:20", begin="2026-01-05 00:10:00"),
    "counted, soon after midnight": at("00:00:00", "00:00:05", "00:00:09", "00:00:20", begin="2026-01-05 00:10:00"),
    "begin with its zone": at("14:05:00", "14:05:05", "14:05:10", "14:05:20", begin="2026-01-05T14:05:00+08:00"),
    "begin in another zone": at("14:05:00", "14:05:05", "14:05:10", "14:05:20", begin="2026-01-05T06:05:00Z"),
    "no begin": at("23:59:50", "23:59:55", "00:00:00", "00:00:05", begin=None),
}


def test_clock_times_may_be_the_time_of_day_also_over_midnight(tmp_path: Path) -> None:
    assert dict(zip(OF_DAY, told(tmp_path, *OF_DAY.values()), strict=True)) == {name: set() for name in OF_DAY}


def test_times_of_day_are_held_against_the_call_and_each_other_and_one_that_fits_nothing_is_a_warning(
    tmp_path: Path,
) -> None:
    wrong = {
        "turn_out_of_order": at("14:05:00", "14:05:15", "14:05:10", "14:05:20"),
        "turn_before_call": at("14:04:00", "14:05:05", "14:05:10", "14:05:20"),
        "turn_after_call": at(
            "23:59:50", "23:59:59", "00:00:09", "00:01:20", begin=END[:11] + "23:59:50", end="2026-01-06T00:00:10"
        ),
        "bad_turn_time": at("18:20:00", "18:20:05", "18:20:10", "18:20:20", end="2026-01-05 14:15:00"),
    }

    assert dict(zip(wrong, told(tmp_path, *wrong.values()), strict=True)) == {code: {code} for code in wrong}
    assert "bad_turn_time" in pl.read_csv(tmp_path / "out" / "warnings.csv")["code"].to_list()
