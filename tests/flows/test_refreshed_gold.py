"""After a refresh of the gold set the champion answers it anew before anything is compared with it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.stack import QUICK, Stack, stack
from tests.tiny import write_base


def deployment(at: Stack, which: str, /, ok: bool = True, **parameters: object) -> str:
    """A deployment run on the worker, to its end; what was said of it."""
    prefect = Path(sys.executable).with_name("prefect")
    env = {**at.env, "PREFECT_API_URL": f"http://127.0.0.1:{at.ports['prefect']}/api"}
    given = [word for pair in parameters.items() for word in ("--param", f"{pair[0]}={json.dumps(pair[1])}")]
    argv = [str(prefect), "deployment", "run", which, *given, "--watch"]
    found = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=600)
    assert (found.returncode == 0) == ok, found.stdout + found.stderr
    return found.stdout + found.stderr


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
        waiting = ("--set", "gate.approval=true", "--set", "train.rank=4")
        at.run("retrain", "--dataset", "june", *sets, *waiting)
        at.run("promote", "2", "--dry-run", *sets)
        wrong = deployment(at, "merge/on-demand", ok=False, datasets=["june"], name="both")
        deployment(at, "merge/on-demand", datasets=["june", "july"], name="both")
        both = at.json("datasets", "show", "both")["dataset"]["id"]
        for _ in range(2):  # the same request again changes nothing
            deployment(at, "refresh-gold/on-demand", reason="a new tariff in July", by="li", dataset=both)
        shown = at.json("datasets", "show", both)["custody"]
        late = [at.run(*words, *sets, ok=(3,)).stderr for words in (("promote", "2"), ("gate", "2", "--again"))]
        again = at.run("retrain", "--dataset", both, *sets, "--json").stderr
        third = at.json("gate", "3")
        refused = at.run("promote", "3", *sets, ok=(3,)).stderr
        at.run("promote", "3", "--new-standard", "the gold set was refreshed", *sets)
        looked = at.json("datasets", "show", both)["custody"]["looks"]
        told = [e["event"] for e in at.json("history") if e["event"]["kind"] == "gold_refreshed"]
        compared = at.json("compare", "1", "3")

    fresh = shown["gold"]
    assert first["release"] is not None and first["verdict"]["gold_digest"] != fresh["digest"]
    assert "datasets" in wrong
    assert [g["version"] for g in shown["versions"]] == [1, 2]
    assert (fresh["refresh"]["reason"], fresh["refresh"]["by"]) == ("a new tariff in July", "li")
    for sentence in late:
        assert "version 2 was judged on version 1 of the gold set" in sentence and "./tingsu retrain" in sentence
    assert third["gold_digest"] == fresh["digest"]
    assert third["champion_bundle"] == first["bundle"]["digest"]
    assert [line for line in again.splitlines() if line.startswith("score champion") and line.endswith(" s")]
    assert "gold set" in refused and "--new-standard" in refused
    assert looked["judged"] == 1 and looked["carried"] == shown["looks"]["total"] >= 1
    assert [(e["by"], e["detail"]["reason"]) for e in told] == [("li", "a new tariff in July")]
    assert compared["comparable"] and compared["calls"] == fresh["rows"]
