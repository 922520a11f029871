"""Versions side by side, and what does not fit together."""

from pathlib import Path

import pytest

from data_contracts.errors import ConfigurationError
from tasks import history, registry
from tasks.audit import audit
from tasks.compare import compare
from tests.tasks import released
from tests.tasks.released import Place, add


@pytest.fixture
def at(tmp_path: Path) -> Place:
    return released.place(tmp_path)


def test_versions_compare_metric_by_metric(at: Place) -> None:
    add(at, "one")
    registry.record(at.registry, released.candidate(at, released.bundle(at, "two"), 0.9))
    compared = compare(at.registry, 1, 2)

    by_name = {row.metric: row for row in compared.rows}
    assert compared.comparable
    assert by_name["gold/macro_f1"].change == pytest.approx(0.07)
    assert by_name["gold/macro_f1"].better == "b"
    assert by_name["speed/p95_ms"].better == "same"


def test_versions_on_different_gold_are_not_comparable(at: Place) -> None:
    add(at, "one")
    add(at, "two", gold_digest="x" * 64)
    compared = compare(at.registry, 1, 2)

    assert not compared.comparable
    assert "not comparable" in compared.reason_en
    assert "gold" in compared.reason_en
    assert "不可比较" in compared.reason_zh
    assert {row.metric.partition("/")[0] for row in compared.rows} == {"speed"}
    with pytest.raises(ConfigurationError, match="no version 7"):
        compare(at.registry, 1, 7)


def test_a_cut_history_shows_in_the_audit(at: Place) -> None:
    add(at, "one")
    registry.promote(at.registry, 1)
    path = at.home / history.FILE
    path.write_text(path.read_text().splitlines(keepends=True)[0])

    assert "tail was cut" in audit(at.registry)[0]
