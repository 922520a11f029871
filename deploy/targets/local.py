"""This machine as a target: a service on the public port, and a second one beside it while a candidate is checked."""

import shlex
from collections.abc import Callable
from pathlib import Path

from configs.settings import Settings
from data_contracts.errors import ConfigurationError, EngineUnavailable, ResourceInsufficient
from deploy import keys, service
from deploy.client import Client
from deploy.operate import ports, processes, verify
from deploy.operate.canary_window import Look
from deploy.operate.processes import Command, Process
from deploy.targets import Change, Placed, Status

SERVICE = "service"
STAGED = "service-next"
ANSWERS_S = 10.0
_NO_SPLIT = "target local gives all of its traffic to one version; set rollout.canary.steps to []"


class Local:
    """Stages on a spare engine port; a switch gives the running service the candidate, without losing a request.

    Only where none runs, or one with other settings or other code, a process is started on the public port.
    """

    name = "local"
    can_split = False

    def __init__(self, home: Path, settings: Settings, command: Callable[..., list[str]] = service.command) -> None:
        """`command` makes the service's command line, as `deploy.service.command` does."""
        self.home = home
        self.settings = settings
        self.command = command

    def changes(self, candidate: Placed) -> tuple[Change, ...]:
        port = self.settings.ports.service
        known = processes.find(self.home, SERVICE)
        command = self._command(SERVICE, candidate, port)
        before = shlex.join(known.argv) if known else ""
        return (Change(what=f"process {SERVICE}", before=before, after=shlex.join(command.argv)),)

    def stage(self, candidate: Placed) -> None:
        self._wait(self._staged(candidate))

    def verify(self, candidate: Placed) -> None:
        process = self._staged(candidate)
        self._wait(process)
        self._check(process.port, candidate)

    def weigh(self, candidate: Placed, share: float) -> str:
        raise ConfigurationError(_NO_SPLIT)

    def look(self, candidate: Placed, at_s: float) -> Look:
        raise ConfigurationError(_NO_SPLIT)

    def switch(self, candidate: Placed) -> str:
        port = self.settings.ports.service
        processes.stop(self.home, STAGED)
        if not self._reloaded(candidate, port):
            self._wait(self._ensure(SERVICE, candidate, port))
        self._check(port, candidate)
        return self._url(port)

    def undo(self, live: Placed | None) -> None:
        processes.stop(self.home, STAGED)
        if live is None:
            processes.stop(self.home, SERVICE, self.settings.rollout.drain_s)
        else:
            self.switch(live)

    def status(self) -> Status:
        process = processes.find(self.home, SERVICE)
        endpoint = self._url(process.port if process else self.settings.ports.service)
        if process is None:
            return Status(endpoint=endpoint, serving=None, detail="stopped")
        if not processes.answers(f"{endpoint}/ready"):
            return Status(endpoint=endpoint, serving=None, detail=f"pid {process.pid} is not ready; see {process.log}")
        with Client(endpoint, key=keys.machine(self.home)) as client:
            serving = str(client.model_info()["bundle_digest"])
        return Status(
            endpoint=endpoint, serving=serving, detail=f"pid {process.pid}, {processes.memory_mb(process):.0f} MB"
        )

    def _staged(self, candidate: Placed) -> Process:
        known = processes.find(self.home, STAGED)
        taken = [process.port for process in processes.running(self.home)]
        port = known.port if known else ports.spare(self.settings.ports.engines_from, taken)
        return self._ensure(STAGED, candidate, port)

    def _reloaded(self, placed: Placed, port: int) -> bool:
        """Whether a running service took the bundle. It is asked what it serves: its record may be older than a reload."""
        command, known = self._command(SERVICE, placed, port), processes.find(self.home, SERVICE)
        if known is None or not _only_bundle_differs(known, command) or not processes.answers(command.url, ANSWERS_S):
            return False
        limit_s = service.LOAD_TRIES * self.settings.serve.start_timeout_s
        with Client(self._url(port), key=keys.machine(self.home)) as client:
            if not _serves(client, placed):
                folder = Path(placed.folder)
                try:
                    client.reload(folder, placed.version, limit_s)
                except ResourceInsufficient:  # a moment of 503 with a time to come back, and no room for both
                    client.reload(folder, placed.version, limit_s, drain=True)
        processes.becomes(self.home, known, command)
        return True

    def _ensure(self, name: str, placed: Placed, port: int) -> Process:
        """The process of this name serving this bundle on this port: the running one, or a new one."""
        command = self._command(name, placed, port)
        known = processes.serves(self.home, command)
        if known is not None:
            return known
        processes.stop(self.home, name, self.settings.rollout.drain_s)
        return processes.start(self.home, command)

    def _command(self, name: str, placed: Placed, port: int) -> Command:
        argv = self.command(Path(placed.folder), port, self.home, self.settings.serve, version=placed.version)
        setting = "ports.service" if name == SERVICE else "ports.engines_from"
        url = f"{self._url(port)}/ready"
        env = {"TINGSU_CODE": service.code()}
        return Command(name=name, argv=tuple(argv), port=port, url=url, setting=setting, env=env)

    def _wait(self, process: Process) -> None:
        processes.wait(process, self.settings.serve.start_timeout_s)

    def _check(self, port: int, placed: Placed) -> None:
        url = self._url(port)
        limit_s, key = self.settings.rollout.verify_timeout_s, keys.machine(self.home)
        checks = verify.verify(url, limit_s, placed.bundle_digest, key)
        failed = "; ".join(f"{check.name}: {check.detail}" for check in checks if check.outcome == "failed")
        if failed:
            raise EngineUnavailable(f"version {placed.version} at {url} fails its check: {failed}")

    def _url(self, port: int) -> str:
        host = self.settings.serve.host
        return f"http://{'127.0.0.1' if host in ('0.0.0.0', '::', 'localhost') else host}:{port}"


def _only_bundle_differs(known: Process, command: Command) -> bool:
    """Whether a reload makes the process what the command would start."""
    same = command.model_copy(update={"argv": known.argv}).fingerprint == known.fingerprint  # environment and code
    return same and service.settles(known.argv) == service.settles(command.argv)


def _serves(client: Client, placed: Placed) -> bool:
    info = client.model_info()
    version = str(info["model_version"]).partition("+")[0]
    return not info.get("reloading") and (info["bundle_digest"], version) == (placed.bundle_digest, str(placed.version))
