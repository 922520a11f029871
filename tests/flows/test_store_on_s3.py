"""The main job with its store on a real S3 server."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from tests import s3_server
from tests.flows.ports import free_ports

ROOT = Path(__file__).parent.parent.parent
LOW_BAR = "gate.bounds=[{metric: error_share, at_most: 0.0}, {metric: quantization_loss_f1, at_most: 0.9}]"
QUICK = [
    *("--set", LOW_BAR, "--set", "train.epochs=1", "--set", "benchmark.duration_s=3", "--set", "benchmark.warmup_s=1"),
    *("--set", "gate.resamples=200", "--set", "quantize.forms=[int8]"),
]


def start(env: dict[str, str], *words: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-P", "-m", "flows", *words]
    return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outcome(process: subprocess.Popen[str]) -> tuple[str, list[str]]:
    """What it printed, and its stages that were not reused."""
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, out + err
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line[:1].islower() and line[24:25] == " "]
    return out, [line for line in lines if line.endswith(" s")]


def environment(home: Path, **more: str) -> dict[str, str]:
    home.mkdir(exist_ok=True)
    names = ("service", "console", "mlflow", "prefect", "engines_from")
    env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    env |= {f"TINGSU_PORTS__{n.upper()}": str(port) for n, port in zip(names, free_ports(len(names)), strict=True)}
    return env | {"PYTHONPATH": str(ROOT), "TINGSU_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"} | more


@pytest.mark.slow
def test_the_main_job_with_its_store_on_s3_and_again_from_s3_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with s3_server.serving() as url:
        keys = dict(
            zip(
                ("aws_access_key_id", "aws_secret_access_key", "region_name"),
                s3_server.CREDENTIALS.values(),
                strict=True,
            )
        )
        boto3.client("s3", endpoint_url=url, **keys).create_bucket(Bucket="tingsu")
        place = {"TINGSU_STORE__URL": "s3://tingsu/team", "TINGSU_STORE__ENDPOINT_URL": url}
        env = environment(home, **place, **s3_server.CREDENTIALS)
        try:
            outcome(start(env, "sample", "--calls", "600", "--out", str(tmp_path / "calls.jsonl")))
            outcome(start(env, "submit", str(tmp_path / "calls.jsonl")))
            out, done = outcome(start(env, "retrain", *QUICK, "--json"))
            first = json.loads(out)
            outcome(start(env, "verify", first["release"]["endpoint"]))
            shutil.rmtree(home / "cache")  # as on a machine that has seen nothing of it
            out, again = outcome(start(env, "retrain", *QUICK, "--json"))
        finally:
            outcome(start(env, "down"))

    assert first["verdict"]["decision"] == "PROMOTE"
    assert len(done) > 10
    assert again == []
    assert json.loads(out)["version"] == first["version"]
