"""One call asked in every way that the README shows: the same category, the same probabilities."""

import json
import math
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.operate import processes
from tests.flows.ports import free_ports
from tests.flows.stack import QUICK, ROOT, Stack, stack

TOLERANCE = 0.005
"""As the README states it: another process may put the call into other batches, and bf16 then rounds otherwise."""
README = (ROOT / "README.md").read_text(encoding="utf-8")
CURLS = [line for line in README.splitlines() if line.startswith("curl ")]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("same")) as made:
        made.run("sample", "--calls", "500", "--seed", "31", "--out", str(made.home / "calls.jsonl"))
        made.run("submit", str(made.home / "calls.jsonl"))
        made.run("retrain", *QUICK)
        yield made


@contextmanager
def mlflow_serving(at: Stack) -> Iterator[int]:
    """The README's `mlflow models serve` line, on a port of its own."""
    (line,) = [line for line in README.splitlines() if "mlflow models serve" in line and "=" in line]
    (port,) = free_ports(1)
    line = line.replace(":5001", f":{at.ports['mlflow']}").replace("--port 5002", f"--port {port}")
    line = line.replace("$PWD/.venv/bin", str(Path(sys.executable).parent)).removesuffix(" &")
    with subprocess.Popen(f"exec env {line}", shell=True, env=at.env, start_new_session=True) as process:
        try:
            until = time.monotonic() + 180
            while not processes.answers(f"http://127.0.0.1:{port}/ping"):
                assert process.poll() is None and time.monotonic() < until
                time.sleep(0.3)
            yield port
        finally:
            subprocess.run(["pkill", "-TERM", "-s", str(process.pid)], check=False)


def curl(line: str, port: int) -> Any:
    told = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", line)
    return json.loads(subprocess.run(shlex.split(told), capture_output=True, check=True, timeout=60).stdout)


def by_openai(at: Stack, text: str) -> tuple[str, dict[str, float]]:
    import openai

    with openai.OpenAI(base_url=f"http://127.0.0.1:{at.ports['service']}/v1", api_key="none") as client:
        asked = [{"role": "user", "content": text}]
        answer: Any = client.chat.completions.create(
            model="complaints", messages=asked, logprobs=True, top_logprobs=12
        ).choices[0]  # type: ignore[call-overload]
    return answer.message.content, {top.token: math.exp(top.logprob) for top in answer.logprobs.content[0].top_logprobs}


@pytest.mark.slow
def test_curl_the_openai_client_the_command_line_and_mlflow_give_one_answer(live: Stack) -> None:
    direct, of_mlflow = CURLS
    (text,) = re.findall(r'"text": "([^"]+)"', direct)
    assert text in of_mlflow
    with mlflow_serving(live) as port:
        (logged,) = curl(of_mlflow, port)["predictions"]
    asked = curl(direct, live.ports["service"])
    told = live.json("classify", text)
    answers = {
        "curl": (asked["category"]["key"], asked["probabilities"]),
        "command line": (told["category"]["key"], told["probabilities"]),
        "openai": by_openai(live, text),
        "mlflow": (logged["category"], logged["probabilities"]),
    }

    for way, (category, probabilities) in answers.items():
        assert category == asked["category"]["key"], way
        assert probabilities == pytest.approx(asked["probabilities"], abs=TOLERANCE), way
