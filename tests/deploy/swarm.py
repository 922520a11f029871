"""Locust's users on a service, each sending one request after another; every answer is written down as it comes.

`python -P -m tests.deploy.swarm URL USERS LEAST PAUSE OUT`: until OUT.stop is there and LEAST requests are answered; each user waits
PAUSE seconds between two; OUT.texts has what is asked. Locust replaces the sockets of the process that imports it, so it has one of
its own.
"""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy import served

CLASSIFY = "/api/v1/classify"
TIMEOUT_S = 60.0
LOOK_S = 0.02
TEXTS = [f"客户：第{i}次打来，宽带还是断的{'，没有人管' * (i % 9)}。" for i in range(40)]


@dataclass(frozen=True)
class Got:
    """One answer: HTTP status (0: none came), when it was asked for (since 1970), seconds it took, Retry-After, what was asked (indices
    of the texts) and the body."""

    status: int
    at_s: float
    seconds: float
    retry_after: str
    asked: list[int]
    body: dict[str, Any]


class Swarm:
    """The running users."""

    def __init__(self, out: Path, process: "subprocess.Popen[bytes]") -> None:
        self.out = out
        self.process = process

    def count(self) -> int:
        return self.out.read_bytes().count(b"\n") if self.out.exists() else 0

    def until(self, least: int, limit_s: float = 120.0) -> None:
        """Return when this many more were answered."""
        goal, end = self.count() + least, time.monotonic() + limit_s
        while self.count() < goal:
            assert self.process.poll() is None and time.monotonic() < end, f"{self.count()} of {goal} answered"
            time.sleep(0.02)

    def ended(self, limit_s: float = 300.0) -> list[Got]:
        """Every answer, once the users have come to their end."""
        self.out.with_suffix(".stop").touch()
        assert self.process.wait(limit_s) == 0
        return [Got(**json.loads(line)) for line in self.out.read_text(encoding="utf-8").splitlines()]


@contextmanager
def swarm(
    url: str, out: Path, users: int = 8, least: int = 0, pause_s: float = 0.0, texts: Sequence[str] = TEXTS
) -> Iterator[Swarm]:
    out.with_suffix(".texts").write_text(json.dumps(texts), encoding="utf-8")
    argv = [sys.executable, "-P", "-m", "tests.deploy.swarm", url, str(users), str(least), str(pause_s), str(out)]
    process = subprocess.Popen(argv, env=served.environment(), stderr=subprocess.DEVNULL)
    try:
        yield Swarm(out, process)
    finally:
        process.kill()
        process.wait()


def main(url: str, users: int, least: int, pause_s: float, out: Path) -> None:
    import gevent
    from locust import FastHttpUser, constant, task
    from locust.env import Environment

    texts = json.loads(out.with_suffix(".texts").read_text(encoding="utf-8"))
    numbers, file = itertools.count(), out.open("w", encoding="utf-8")

    class Caller(FastHttpUser):
        host = url
        wait_time = constant(pause_s)
        max_retries = 0
        network_timeout = connection_timeout = TIMEOUT_S

        @task
        def ask(self) -> None:
            n = next(numbers)
            asked = [n % len(texts)] if n % 3 else [(n + i) % len(texts) for i in range(5)]
            at_s, began = time.time(), time.monotonic()
            with self.client.post(
                CLASSIFY, json={"calls": [{"text": texts[i]} for i in asked]}, catch_response=True
            ) as r:
                got = Got(
                    r.status_code,
                    at_s,
                    time.monotonic() - began,
                    (r.headers or {}).get("Retry-After", ""),
                    asked,
                    json.loads(r.text) if r.status_code else {"error": repr(r.error)},
                )
                r.success()
            file.write(json.dumps(vars(got), ensure_ascii=False) + "\n")
            file.flush()

    environment = Environment(user_classes=[Caller], stop_timeout=TIMEOUT_S)
    runner = environment.create_local_runner()
    runner.start(users, spawn_rate=users)
    while environment.stats.total.num_requests < least or not out.with_suffix(".stop").exists():
        gevent.sleep(LOOK_S)
    runner.quit()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5]))
