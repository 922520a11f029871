"""The history is append-only and chained: no change, cut or insertion goes unseen."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_contracts.errors import BundleCorrupt, StoreUnavailable
from tasks import history
from tasks.history import Event


def three(home: Path) -> list[history.Entry]:
    return [history.append(home, Event(kind="recorded", version=n, by="me", detail={"数": n / 3})) for n in (1, 2, 3)]


def test_an_empty_history_is_sound_and_empty(tmp_path: Path) -> None:
    assert history.read(tmp_path) == ()
    assert history.verify(tmp_path) is None


def test_events_come_back_in_order_and_chained(tmp_path: Path) -> None:
    written = three(tmp_path)

    assert list(history.read(tmp_path)) == written
    assert history.verify(tmp_path, written[-1].head) is None
    assert written[2].previous == written[1].digest
    assert (tmp_path / history.FILE).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("detail", "why"),
    [
        ({"why": "costs\n doubled ", "how": "by hand"}, "costs doubled"),
        ({"reason": "the gate says HOLD"}, "the gate says HOLD"),
        ({"steps": [{"note": "first"}, {"note": "5 errors of 100"}], "emergency": {"by": "li"}}, "5 errors of 100"),
        ({"emergency": {"reason": "line down"}, "steps": [{"note": "live"}]}, "line down"),
        ({"verdict": {"decision": "REJECT"}}, "REJECT"),
        ({"why": "", "steps": []}, ""),
    ],
)
def test_an_event_says_in_a_line_why_it_happened(detail: dict[str, object], why: str) -> None:
    assert Event(kind="released", version=1, by="me", detail=detail).why == why


@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_changed_line_shows(tmp_path: Path, line: int) -> None:
    three(tmp_path)
    path = tmp_path / history.FILE
    lines = path.read_text().splitlines()
    lines[line] = lines[line].replace('"by": "me"', '"by": "someone"')
    path.write_text("\n".join(lines) + "\n")

    assert f"line {line + 1}" in (history.verify(tmp_path) or "")


def test_a_removed_a_repeated_and_a_garbled_line_show(tmp_path: Path) -> None:
    three(tmp_path)
    path = tmp_path / history.FILE
    first, second, third = path.read_text().splitlines()

    for lines in (
        [first, third],
        [first, first, second],
        [second, third],
        [first, "{}", third],
        [first, "\x00", third],
    ):
        path.write_text("\n".join(lines) + "\n")
        assert history.verify(tmp_path)


def test_a_cut_tail_shows_against_the_registrys_head(tmp_path: Path) -> None:
    written = three(tmp_path)
    path = tmp_path / history.FILE
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))

    assert history.verify(tmp_path) is None
    assert "tail was cut" in (history.verify(tmp_path, written[-1].head) or "")
    history.append(tmp_path, Event(kind="refused", version=9, by="someone"))
    assert "replaced" in (history.verify(tmp_path, written[-1].head) or "")


def test_a_file_ahead_of_the_registrys_head_is_sound(tmp_path: Path) -> None:
    written = three(tmp_path)

    assert history.verify(tmp_path, written[0].head) is None


def test_a_line_torn_by_a_crash_is_dropped_and_the_chain_goes_on(tmp_path: Path) -> None:
    three(tmp_path)
    with (tmp_path / history.FILE).open("ab") as f:
        f.write(b'{"number": 4, "at": "20')

    assert len(history.read(tmp_path)) == 3
    assert history.append(tmp_path, Event(kind="promoted", version=3, by="me")).number == 4
    assert history.verify(tmp_path) is None


def test_a_last_line_whose_end_an_editor_took_is_not_lost(tmp_path: Path) -> None:
    written = three(tmp_path)
    path = tmp_path / history.FILE
    path.write_bytes(path.read_bytes()[:-1])

    assert history.append(tmp_path, Event(kind="promoted", version=3, by="me")).number == 4
    assert history.verify(tmp_path, written[-1].head) is None


def test_an_event_after_a_garbled_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / history.FILE).write_text("not json\n")

    with pytest.raises(BundleCorrupt, match="line 1"):
        history.append(tmp_path, Event(kind="promoted", version=3, by="me"))


def test_writers_at_once_make_one_chain(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: history.append(tmp_path, Event(kind="recorded", version=n, by="x")), range(1, 41)))

    assert len(history.read(tmp_path)) == 40
    assert history.verify(tmp_path) is None


def test_not_a_number_survives(tmp_path: Path) -> None:
    history.append(tmp_path, Event(kind="recorded", version=1, by="x", detail={"value": float("nan")}))

    assert history.verify(tmp_path) is None


def test_an_unwritable_home_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreUnavailable, match="cannot write"):
        history.append(tmp_path / "file", Event(kind="recorded", version=1, by="x"))
