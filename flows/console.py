"""`python -m flows.console`: the control plane of this machine, over the product itself. `./tingsu up` starts it with its ports."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from configs.settings import Settings
from data_contracts.errors import Busy, TingsuError
from deploy import targets
from deploy.console.backend import Cleaned, Job, LocalStatus, Wish
from deploy.operate import lock, needs, processes, stack
from deploy.operate.processes import Command, Process
from deploy.targets import left_behind
from deploy.targets.local import SERVICE, STAGED, Local
from tasks import on_off

JOB = "deploy-local"
RUNS = "a rollout to local is under way; nothing was touched. GET /api/v1/local/status tells how it goes"


@dataclass(frozen=True)
class Here:
    """This home on this machine. A rollout is a process of its own, so that it outlives the control plane."""

    home: Path
    settings: Settings
    sets: tuple[str, ...] = ()

    def deploy(self, wish: Wish, by: str) -> Job:
        needs.require(self.settings)
        words = ("deploy", "--target=local") if wish.version is None else ("promote", str(wish.version))
        sets = (*self.sets, *(("rollout.target=local",) if wish.version is not None else ()))
        argv = processes.python(
            "flows", *words, f"--profile={self.settings.profile}", *(f"--set={one}" for one in sets)
        )
        env = {"LOGNAME": by}  # whom the history names: getpass asks for it first
        with self._without_job():
            return _job(processes.start(self.home, Command(name=JOB, argv=argv, env=env)))

    def status(self) -> LocalStatus:
        target, record = Local(self.home, self.settings), targets.read(self.home, Local.name)
        left = left_behind.find(self.home, Local.name)
        now = target.status()
        job = next((each for each in processes.recorded(self.home) if each.name == JOB), None)
        return LocalStatus(
            mode=self.settings.serve.mode,
            endpoint=now.endpoint,
            serving=now.serving,
            detail=now.detail,
            live=record.live,
            previous=record.previous,
            candidate=None if record.is_finished else record.candidate,
            state=record.state,
            steps=record.steps,
            trouble=left.said if left else "",
            job=None if job is None else _job(job),
            parts=stack.status(self.home),
            missing=needs.missing(self.settings),
        )

    def cleanup(self, by: str) -> Cleaned:
        target = Local(self.home, self.settings)
        with self._without_job():
            try:
                ran = on_off.stop(target, self.home, by, "cleanup by the control plane", lambda: _stopped(target))
            except Busy as error:
                raise Busy(RUNS) from error
            processes.stop(self.home, JOB)  # forgets it
        return Cleaned(stopped=ran)

    @contextmanager
    def _without_job(self) -> Iterator[None]:
        """While the block runs no job is begun but by it. A job lives for seconds before it holds the target's own lock.

        Raises: Busy: one runs.
        """
        with lock.held(self.home / f"run/.{JOB}.lock"):
            if processes.find(self.home, JOB) is not None:
                raise Busy(RUNS)
            yield


def _stopped(target: Local) -> tuple[str, ...]:
    ran = tuple(each.name for each in processes.recorded(target.home) if each.name in (SERVICE, STAGED))
    target.stop()
    return ran


def _job(process: Process) -> Job:
    alive = processes.alive(process)
    return Job(
        running=alive, pid=process.pid if alive else None, log=process.log, last_line=processes.last_said(process)
    )


def main(argv: list[str]) -> int:
    """Serve until SIGTERM; return the exit code of the error tree."""
    from configs.sources import home
    from deploy.console.server import serve
    from flows.session import open_session

    parser = argparse.ArgumentParser(
        prog="flows.console", description="The control plane of this machine, on loopback."
    )
    parser.add_argument("--profile")
    parser.add_argument("--set", action="append", default=[], metavar="ports.console=N")
    options = parser.parse_args(argv)
    try:
        settings = open_session(options.profile, sets=options.set).settings
        serve(Here(home(), settings, tuple(options.set)), home(), settings)
    except TingsuError as error:
        print(f"tingsu: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
