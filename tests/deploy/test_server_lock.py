"""The lock on a server, over a connection whose near end alone notices that it was cut, as ssh where the network went away."""

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.targets import server_lock
from deploy.targets.server_host import Here


@dataclass
class Cut(Here):
    """This machine. What runs there goes on when our end of the pipe has died."""

    near: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    far: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def begin(self, argv: Sequence[str]) -> "subprocess.Popen[bytes]":
        pipe = subprocess.PIPE
        self.far.append(subprocess.Popen(argv, stdin=pipe, stdout=pipe))
        self.near.append(subprocess.Popen(["cat"], stdin=self.far[-1].stdout, stdout=pipe, stderr=pipe))
        return self.near[-1]

    def cut(self) -> None:
        self.near[-1].kill()
        self.near[-1].wait()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cut]:
    monkeypatch.setattr(server_lock, "FILE", str(tmp_path / "lock"))
    monkeypatch.setattr(server_lock, "SILENT_S", 6)
    monkeypatch.setattr(server_lock, "END_S", 0.2)
    made = Cut()
    yield made
    for process in (*made.near, *made.far):
        process.kill()
        process.communicate()


def test_who_lost_the_connection_has_the_lock_again_when_the_server_has_noticed(host: Cut) -> None:
    with server_lock.held(host, "li") as still:
        host.cut()

        still()

        assert len(host.far) == 2 and host.far[0].poll() is not None and host.far[1].poll() is None
