"""After a refresh of the gold set the champion answers it anew before anything is compared with it."""

from pathlib import Path

import pytest

from tests.flows.stack import QUICK, stack
from tests.tiny import write_base


@pytest.mark.slow
def test_a_champion_is_measured_on_the_refreshed_gold_set_and_the_next_promotion_says_why(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    cheap = (f"train.base_model={base}", "quantize.forms=[int8]", "benchmark.duration_s=2")
    sets = (*QUICK, *(word for pair in cheap for word in ("--set", pair)))
    with stack(tmp_path / "home") as at:
        for name, seed in (("june", "7"), ("july", "8")):
            at.run("sample", "--calls", "400", "--seed", seed, "--out", str(at.home / f"{name}.jsonl"))
            at.run("submit", str(at.home / f"{name}.jsonl"))
        first = at.json("retrain", "--dataset", "june", *sets)
        both = at.json("datasets", "merge", "june", "july", "--name", "both")["dataset"]["id"]
        fresh = at.json("datasets", "refresh-gold", "--dataset", both, "--reason", "a new tariff in July")
        again = at.run("retrain", "--dataset", both, *sets, "--json").stderr
        second = at.json("gate", "2")
        refused = at.run("promote", "2", *sets, ok=(3,)).stderr
        at.run("promote", "2", "--new-standard", "the gold set was refreshed", *sets)
        shown = at.json("datasets", "show", both)["custody"]
        told = [e["event"] for e in at.json("history") if e["event"]["kind"] == "gold_refreshed"]
        compared = at.json("compare", "1", "2")

    assert first["release"] is not None and first["verdict"]["gold_digest"] != fresh["digest"]
    assert (fresh["version"], fresh["refresh"]["reason"]) == (2, "a new tariff in July")
    assert second["gold_digest"] == fresh["digest"]
    assert second["champion_bundle"] == first["bundle"]["digest"]
    assert [line for line in again.splitlines() if line.startswith("score champion") and line.endswith(" s")]
    assert "gold set" in refused and "--new-standard" in refused
    assert [g["version"] for g in shown["versions"]] == [1, 2]
    assert shown["looks"]["judged"] == 1 and shown["looks"]["carried"] == 1
    assert [e["detail"]["reason"] for e in told] == ["a new tariff in July"]
    assert compared["comparable"] and compared["calls"] == fresh["rows"]
