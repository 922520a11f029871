"""A target that is a folder, and a controller of it: for rollouts that fail, or whose process is killed, at any step."""

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from configs.rollout import CanarySettings, CanaryStep, RolloutSettings
from deploy.canary.window import Histogram, Side
from deploy.operate.canary_window import Counted, Look
from deploy.store import write_atomically
from deploy.targets import Change, Placed, Status
from tasks.canary import Clock
from tasks.controller import Controller

STEPS = (CanaryStep(weight=0.1, calls=120, seconds=10), CanaryStep(weight=0.5, calls=120, seconds=10))
CANARY = RolloutSettings(canary=CanarySettings(steps=STEPS))
PLAIN = RolloutSettings(canary=CanarySettings(steps=()))


@dataclass
class FolderTarget:
    """What serves, what is staged, its share and both sides' counters are files. A look is preceded by `requests` to each side.

    breaks: (method, version) → what it raises. untold: why it does not say what serves; whole: why it gives a candidate no share.
    A file `faulty-V`: version V answers every second request with an error.
    """

    place: Path
    name: str = "local"
    whole: str = ""
    mend: str = "look here"
    clear: str = "end it"
    untold: str = ""
    requests: int = 120
    calls: list[tuple[str, int]] = field(default_factory=list)
    breaks: dict[tuple[str, int], BaseException] = field(default_factory=dict)

    @property
    def serving(self) -> int | None:
        return self._read("serving")

    @property
    def staged(self) -> int | None:
        return self._read("staged")

    @property
    def share(self) -> float:
        return self._read("share") or 0.0

    def changes(self, candidate: Placed) -> tuple[Change, ...]:
        before = "" if self.serving is None else f"version {self.serving}\n"
        return (Change(what="serving", before=before, after=f"version {candidate.version}\n"),)

    def unsplit(self, candidate: Placed) -> str:
        if ("unsplit", candidate.version) in self.breaks:
            raise self.breaks["unsplit", candidate.version]
        return self.whole

    def stage(self, candidate: Placed) -> None:
        self._step("stage", candidate)
        self._write("staged", candidate.version)

    def verify(self, candidate: Placed) -> None:
        self._step("verify", candidate)
        assert self.staged == candidate.version

    def weigh(self, candidate: Placed, share: float) -> str:
        self._step("weigh", candidate)
        assert self.staged == candidate.version
        self._write("share", share)
        return "http://here"

    def look(self, candidate: Placed, at_s: float) -> Look:
        self._step("look", candidate)
        assert self.share > 0
        counts = self._read("counts") or {"requests": 0, "errors": 0}
        counts = {
            "requests": counts["requests"] + self.requests,
            "errors": counts["errors"] + self.requests // 2 * (self.place / f"faulty-{candidate.version}").exists(),
        }
        self._write("counts", counts)
        sides = {"live": {"champion": _counted(counts["requests"], 0)}, "new": {"candidate": _counted(**counts)}}
        return Look(at_s=at_s, champion=sides["live"], candidate=sides["new"])

    def switch(self, candidate: Placed) -> str:
        self._step("switch", candidate)
        self._write("serving", candidate.version)
        self._withdraw()
        return "http://here"

    def undo(self, live: Placed | None, candidate: Placed) -> None:
        self._step("undo", live or candidate)
        self._write("share", 0.0)
        if live is not None:
            self._write("serving", live.version)
        elif self.serving == candidate.version:
            self._write("serving", None)
        self._withdraw()

    def held(self, by: str) -> AbstractContextManager[None]:
        return nullcontext()

    def status(self) -> Status:
        serving = placed(self.serving).bundle_digest if self.serving and not self.untold else None
        return Status(endpoint="http://here", serving=serving, detail="", untold=self.untold)

    def _withdraw(self) -> None:
        self._write("share", 0.0)
        self._write("staged", None)

    def _step(self, name: str, placed: Placed) -> None:
        self.calls.append((name, placed.version))
        if (name, placed.version) in self.breaks:
            raise self.breaks[name, placed.version]

    def _read(self, name: str) -> "object":
        path = self.place / f"{name}.state"
        return json.loads(path.read_bytes()) if path.exists() else None

    def _write(self, name: str, value: object) -> None:
        write_atomically(self.place / f"{name}.state", json.dumps(value).encode())


def _counted(requests: int, errors: int) -> Counted:
    latency = Histogram(le=(0.1, 0.2), counts=(requests // 2, requests - requests // 2, 0))
    answered = requests - errors
    categories = {"no": answered * 6 // 10, "yes": answered - answered * 6 // 10}
    return Counted(
        side=Side(requests=requests, errors=errors, latency_s=latency, categories=categories),
        together=Histogram(le=(1.0,), counts=(requests, 0)),
    )


@dataclass
class FastClock:
    """Time that passes only while somebody sleeps."""

    now_s: float = 1_000_000.0

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def placed(version: int) -> Placed:
    return Placed(version=version, bundle_digest=f"{version}" * 8, folder="/nowhere", verdict_signature=f"s{version}")


def controller(
    home: Path,
    settings: RolloutSettings = CANARY,
    target: FolderTarget | None = None,
    by: str = "tester",
    clock: Clock | None = None,
) -> Controller:
    """Over a folder target of this home, in a time that does not pass unless a clock is given."""
    fast = FastClock()
    place = home / "target"
    place.mkdir(exist_ok=True)
    found = target or FolderTarget(place)
    time = clock or Clock(fast.now, fast.sleep)
    return Controller(found, home, by, lambda _: None, settings, lambda _: ("no", "yes"), time)


def endless(home: Path) -> None:
    """A canary that looks once in ten minutes."""
    slow = RolloutSettings(canary=CANARY.canary.model_copy(update={"look_every_s": 600.0}))
    controller(home, slow, clock=Clock()).rollout(placed(2))
