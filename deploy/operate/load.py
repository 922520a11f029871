"""Open-loop load by Locust, in a process of its own (Locust replaces the sockets of the process that imports it).

Run as `python -m deploy.operate.load PLAN OUT`; an API key is taken from `TINGSU_API_KEY`. Every call is sent at its
scheduled time whether or not earlier ones were answered, and its latency counts from then, so a service that stalls
cannot hide it (no coordinated omission).
"""

import json
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from deploy.keys import VARIABLE

Arrivals = Literal["poisson", "constant"]


class Plan(NamedTuple):
    """`bodies` are JSON request bodies, sent in turn; `sends_s` are send times from the start, ascending."""

    host: str
    path: str
    sends_s: Sequence[float]
    bodies: Sequence[str]
    timeout_s: float


class Sent(NamedTuple):
    """One request. `latency_s` counts from the scheduled time; `late_s`: sent so late; no `error`: it got 200."""

    scheduled_s: float
    latency_s: float
    late_s: float
    error: str


def schedule(rate_qps: float, duration_s: float, seed: int, arrivals: Arrivals = "poisson") -> list[float]:
    """Send times in [0, duration): `rate × duration` of them, evenly spaced or as a Poisson process of that count."""
    count = max(1, round(rate_qps * duration_s))
    if arrivals == "constant":
        return [i * duration_s / count for i in range(count)]
    rng = random.Random(seed)
    return sorted(rng.uniform(0, duration_s) for _ in range(count))


def drive(plan: Plan, key: str | None = None) -> list[Sent]:
    """Send the plan with Locust, showing the API key; call it only in a process made for it."""
    import gevent
    from locust.env import Environment

    sent: list[Sent] = []
    environment = Environment(user_classes=[_caller(plan, key, sent)], host=plan.host)
    runner = environment.create_local_runner()
    runner.start(1, spawn_rate=1)
    with gevent.Timeout(plan.sends_s[-1] + 2 * plan.timeout_s + 30):
        while len(sent) < len(plan.sends_s):
            gevent.sleep(0.05)
    runner.quit()
    return sorted(sent)


def _caller(plan: Plan, key: str | None, sent: list[Sent]) -> type:
    """One Locust user that sends every call of the plan from a greenlet of its own."""
    import gevent
    from locust import FastHttpUser, task

    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    class Caller(FastHttpUser):
        concurrency = len(plan.sends_s)
        network_timeout = connection_timeout = plan.timeout_s

        @task
        def send_all(self) -> None:
            began = time.perf_counter() + 0.2
            greenlets = [gevent.spawn(self.send_at, began, i, at) for i, at in enumerate(plan.sends_s)]
            gevent.joinall(greenlets, raise_error=True)
            gevent.sleep(3600)

        def send_at(self, began: float, i: int, at: float) -> None:
            gevent.sleep(max(0.0, began + at - time.perf_counter()))
            late = time.perf_counter() - began - at
            body = plan.bodies[i % len(plan.bodies)].encode()
            with self.client.post(plan.path, data=body, headers=headers, catch_response=True) as response:
                latency = time.perf_counter() - began - at
                response.request_meta["response_time"] = latency * 1000
                error = "" if response.status_code == 200 else _reason(response)
                response.failure(error) if error else response.success()
            sent.append(Sent(at, latency, late, error))

    return Caller


def _reason(response: Any) -> str:
    return f"HTTP {response.status_code}" if response.status_code else type(response.error).__name__


def main(plan_file: Path, out: Path) -> None:
    """Read the plan, drive it, write the list of what was sent."""
    plan = Plan(**json.loads(plan_file.read_text(encoding="utf-8")))
    sent = [item._asdict() for item in drive(plan, os.environ.get(VARIABLE))]
    out.write_text(json.dumps(sent), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
