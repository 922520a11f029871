"""This machine as a target: one service on the public port, which holds a candidate beside what serves and splits its requests."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from configs.settings import Settings
from data_contracts.errors import ConfigurationError, ResourceInsufficient, TingsuError
from deploy import keys, service
from deploy.client import Client
from deploy.operate import canary_window, ports, processes, trial
from deploy.operate.canary_window import Look
from deploy.operate.processes import Command, Process
from deploy.operate.trial import Where
from deploy.targets import Change, Placed, Status

SERVICE = "service"
STAGED = "service-next"
ANSWERS_S = 4.0
"""For the web process to say that it lives; its engines may be away meanwhile."""
HUNG_S = 1.0
"""To end one that does not say so: it finishes nothing any more."""
ANEW = "anew"
OUTDATED = (
    "the running service was started with other settings or other code, and takes no candidate, so there would be no canary; bring "
    "it up to date first: ./tingsu up, or switch at once: --set rollout.canary.steps=[]"
)


class Local:
    """The running service loads the candidate beside what serves, gives it a share of the requests, and then all of them.

    Where none runs, or one with other settings or other code, or memory has no room for both in one, the candidate is staged in a
    process of its own on a spare port: then nothing splits the requests.
    """

    name = "local"
    mend = "see ./tingsu logs service, and try ./tingsu up"
    clear = "./tingsu down"

    def __init__(self, home: Path, settings: Settings, command: Callable[..., list[str]] = service.command) -> None:
        """`command` makes the service's command line, as `deploy.service.command` does."""
        self.home = home
        self.settings = settings
        self.command = command
        self._share = 0.0

    def changes(self, candidate: Placed) -> tuple[Change, ...]:
        known = processes.find(self.home, SERVICE)
        command = self._command(SERVICE, candidate, self.settings.ports.service)
        before = shlex.join(known.argv).replace(" --", "\n  --") if known else ""
        after = shlex.join(command.argv).replace(" --", "\n  --")
        how = ", which takes the bundle without a restart" if known and _only_bundle_differs(known, command) else ""
        return (Change(what=f"process {SERVICE}{how}", before=before, after=after),)

    def unsplit(self, candidate: Placed) -> str:
        takes = self._takes(candidate)
        if takes and self._holds(candidate):
            return ""
        if not processes.answers(f"{self._url(self.settings.ports.service)}/ready", ANSWERS_S):
            return "what served before does not answer"
        if not takes:
            raise ConfigurationError(OUTDATED)
        if processes.find(self.home, STAGED) is not None:
            return "one service has no room for both, and the candidate is staged in a process of its own"
        return ""

    def stage(self, candidate: Placed) -> None:
        if not self._tries(candidate):
            self._wait(self._staged(candidate))
            return
        with self._client() as client:
            if _serves(client, candidate):
                return
            try:
                client.try_beside(Path(candidate.folder), candidate.version, self._limit_s)
            except ResourceInsufficient:
                self._wait(self._staged(candidate))

    def verify(self, candidate: Placed) -> None:
        where = self._where(candidate)
        trial.require(where, Path(candidate.folder), candidate.bundle_digest, self.settings.rollout.verify_timeout_s)

    def weigh(self, candidate: Placed, share: float) -> str:
        self._revive()
        if not self._takes(candidate):
            raise ConfigurationError(OUTDATED)
        self._share = share
        with self._client() as client:
            self._split(client, candidate)
        return self._url(self.settings.ports.service)

    def look(self, candidate: Placed, at_s: float) -> Look:
        self._revive()
        with self._client() as client:
            now = canary_window.look_within([client], at_s)
            self._split(client, candidate)
        return now

    def switch(self, candidate: Placed) -> str:
        port = self.settings.ports.service
        how = self._given(candidate)
        self._note(candidate)
        processes.stop(self.home, STAGED)
        self._check(port, candidate)
        if how != ANEW and not self.settings.rollout.keep_previous:
            with self._client() as client:
                client.forget(self._limit_s)
        return self._url(port)

    def undo(self, live: Placed | None, candidate: Placed) -> None:
        if live is None:
            self._withdraw(candidate)
            return
        how = self._given(live, as_it_is=True)
        if how != ANEW:
            with self._client() as client:
                client.withdraw(self._limit_s)
                if how != "kept":  # what was live before `live` is left alone
                    client.forget(self._limit_s)
        self._check(self.settings.ports.service, live)
        processes.stop(self.home, STAGED)
        self._note(live)  # last: it needs a disk, and the traffic does not

    def held(self, by: str) -> AbstractContextManager[None]:
        return nullcontext()  # its processes are this home's, and so is the lock that the caller has

    def stop(self) -> None:
        """End the service and what is staged, whatever they serve."""
        processes.stop(self.home, STAGED)
        processes.stop(self.home, SERVICE, self.settings.rollout.drain_s)

    def status(self) -> Status:
        process = processes.find(self.home, SERVICE)
        endpoint = self._url(process.port if process else self.settings.ports.service)
        if process is None:
            return Status(endpoint=endpoint, serving=None, detail="stopped")
        if not processes.answers(f"{endpoint}/ready"):
            said = f"pid {process.pid} is not ready; see {process.log}"
            untold = f"{said}; wait until it is, or end it: {self.clear}"
            return Status(endpoint=endpoint, serving=None, detail=said, untold=untold)
        try:
            with Client(endpoint, ANSWERS_S, key=keys.machine(self.home)) as client:
                info = client.model_info()
        except TingsuError as error:
            return Status(endpoint=endpoint, serving=None, detail=str(error), untold=str(error))
        beside = _told(info["candidate"]) if info.get("candidate") else ""
        kept = f"; version {info['previous']} is kept loaded" if info.get("previous") else ""
        detail = f"pid {process.pid}, {processes.memory_mb(process):.0f} MB{beside}{kept}"
        return Status(endpoint=endpoint, serving=str(info["bundle_digest"]), detail=detail)

    @property
    def _limit_s(self) -> float:
        """For loading a bundle."""
        return service.LOAD_TRIES * self.settings.serve.start_timeout_s

    def _split(self, client: Client, candidate: Placed) -> None:
        """Give the candidate its share for as long as somebody looks; load it again, if the service was started anew."""
        if _staged_in(client.model_info()) != candidate.bundle_digest:
            client.try_beside(Path(candidate.folder), candidate.version, self._limit_s)
        canary = self.settings.rollout.canary
        client.weigh(self._share, canary.mirror_share, hold_s=canary.unwatched_s + canary.look_every_s)

    @contextmanager
    def _client(self) -> Iterator[Client]:
        limit_s = self.settings.rollout.verify_timeout_s
        with Client(self._url(self.settings.ports.service), limit_s, limit_s, key=keys.machine(self.home)) as client:
            yield client

    def _where(self, candidate: Placed) -> Where:
        """Where it is staged."""
        url, key = self._url(self.settings.ports.service), keys.machine(self.home)
        if self._tries(candidate):
            with self._client() as client:
                if _staged_in(client.model_info()) == candidate.bundle_digest:
                    return Where(url, key, "candidate")
                if _serves(client, candidate):
                    return Where(url, key)
        process = self._staged(candidate)
        self._wait(process)
        return Where(self._url(process.port), key)

    def _staged(self, candidate: Placed) -> Process:
        """The process of its own that serves it: the running one, or a new one."""
        known = processes.find(self.home, STAGED)
        taken = [process.port for process in processes.running(self.home)]
        port = known.port if known else ports.spare(self.settings.ports.engines_from, taken)
        command = self._command(STAGED, candidate, port)
        if (running := processes.serves(self.home, command)) is not None:
            return running
        processes.stop(self.home, STAGED, self.settings.rollout.drain_s)
        return processes.start(self.home, command)

    def _takes(self, placed: Placed) -> bool:
        """Whether the service runs, and with a bundle given to it is what a new one would be."""
        command, known = self._command(SERVICE, placed, self.settings.ports.service), processes.find(self.home, SERVICE)
        return known is not None and _only_bundle_differs(known, command) and self._lives(known)

    def _tries(self, candidate: Placed) -> bool:
        """Whether the service loads it beside what serves, which does: a candidate is not measured beside a dead engine."""
        return self._takes(candidate) and processes.answers(
            f"{self._url(self.settings.ports.service)}/ready", ANSWERS_S
        )

    def _holds(self, candidate: Placed) -> bool:
        with self._client() as client:
            return _staged_in(client.model_info()) == candidate.bundle_digest

    def _lives(self, known: Process) -> bool:
        """Whether its web process answers at all."""
        return processes.answers(f"{self._url(known.port)}/health", ANSWERS_S)

    def _given(self, placed: Placed, as_it_is: bool = False) -> str:
        """How the service came to serve it: by a reload where that makes it what a new one would be, whether or not what it serves now
        answers, or is kept in it, whatever its settings and code; else ANEW, when what ran has ended. `as_it_is`: one that serves it
        already may have other settings or older code."""
        command, known = self._command(SERVICE, placed, self.settings.ports.service), processes.find(self.home, SERVICE)
        lives = known is not None and self._lives(known)
        takes = known is not None and _only_bundle_differs(known, command)
        how = self._reloaded(placed, takes, as_it_is) if lives else None
        if how is not None:
            return how
        processes.stop(self.home, STAGED)
        processes.stop(self.home, SERVICE, self.settings.rollout.drain_s if lives else HUNG_S)
        self._wait(processes.start(self.home, command))
        return ANEW

    def _reloaded(self, placed: Placed, takes: bool, as_it_is: bool) -> str | None:
        """How a living service took the bundle; None: it has it and does not answer, or has not and takes none. It is asked what it
        serves: its record may be older than a reload."""
        folder = Path(placed.folder)
        with self._client() as client:
            if _serves(client, placed):
                return "kept" if (takes or as_it_is) and client.ready() else None
            if not (takes or self._is_kept(client, placed)):
                return None
            try:
                how: str = client.reload(folder, placed.version, self._limit_s, keep=True)["how"]
            except ResourceInsufficient:  # a moment of 503 with a time to come back, and no room for both
                how = client.reload(folder, placed.version, self._limit_s, drain=True)["how"]
        return how

    def _is_kept(self, client: Client, placed: Placed) -> bool:
        """Whether the service holds it still from when it was live. One that was staged and verified apart is not taken for it."""
        kept = str(client.model_info().get("previous") or "").partition("+")[0]
        return kept == str(placed.version) and processes.find(self.home, STAGED) is None

    def _note(self, placed: Placed) -> None:
        """What the running service was reloaded with, into its record; one of other settings or code stays known as such."""
        command, known = self._command(SERVICE, placed, self.settings.ports.service), processes.find(self.home, SERVICE)
        if known is not None:
            is_like_new = _only_bundle_differs(known, command)
            argv = command.argv if is_like_new else service.moved(known.argv, command.argv)
            processes.becomes(self.home, known, argv, command.fingerprint if is_like_new else known.fingerprint)

    def _withdraw(self, candidate: Placed) -> None:
        """End all that this candidate runs in; a service with another version stays."""
        known = next((process for process in processes.recorded(self.home) if process.name == SERVICE), None)
        lives = known is not None and processes.alive(known) and self._lives(known)
        if known is not None and self._runs(known, candidate, lives):
            processes.stop(self.home, SERVICE, self.settings.rollout.drain_s if lives else HUNG_S)
        elif lives and self._takes(candidate):
            with self._client() as client:
                client.withdraw(self._limit_s)
        processes.stop(self.home, STAGED)

    def _runs(self, known: Process, placed: Placed, lives: bool) -> bool:
        """Whether the service has this version: by its own word, which may be newer than its record, else by the record."""
        if lives:
            with self._client() as client:
                return _serves(client, placed)
        return f"--bundle={placed.folder}" in known.argv

    def _revive(self) -> None:
        """Start the service again if it has died, as it was."""
        for dead in processes.recorded(self.home):
            if dead.name == SERVICE and not processes.alive(dead):
                env = {"TINGSU_CODE": service.code()}
                command = Command(
                    name=SERVICE, argv=dead.argv, port=dead.port, url=dead.url, setting="ports.service", env=env
                )
                self._wait(processes.start(self.home, command))

    def _command(self, name: str, placed: Placed, port: int) -> Command:
        argv = self.command(Path(placed.folder), port, self.home, self.settings.serve, version=placed.version)
        setting = "ports.service" if name == SERVICE else "ports.engines_from"
        url = f"{self._url(port)}/ready"
        env = {"TINGSU_CODE": service.code()}
        return Command(name=name, argv=tuple(argv), port=port, url=url, setting=setting, env=env)

    def _wait(self, process: Process) -> None:
        processes.wait(process, self.settings.serve.start_timeout_s)

    def _check(self, port: int, placed: Placed) -> None:
        where, limit_s = Where(self._url(port), keys.machine(self.home)), self.settings.rollout.verify_timeout_s
        trial.endpoints(where, placed.bundle_digest, limit_s)

    def _url(self, port: int) -> str:
        return ports.url(self.settings.serve.host, port)


def _only_bundle_differs(known: Process, command: Command) -> bool:
    """Whether a reload makes the process what the command would start."""
    same = command.model_copy(update={"argv": known.argv}).fingerprint == known.fingerprint  # environment and code
    return same and service.settles(known.argv) == service.settles(command.argv)


def _serves(client: Client, placed: Placed) -> bool:
    info = client.model_info()
    version = str(info["model_version"]).partition("+")[0]
    return not info.get("reloading") and (info["bundle_digest"], version) == (placed.bundle_digest, str(placed.version))


def _staged_in(info: dict[str, Any]) -> str | None:
    """The digest of the candidate beside what serves."""
    return info["candidate"]["bundle_digest"] if info.get("candidate") else None


def _told(tried: dict[str, Any]) -> str:
    has = "has no traffic any more, since nobody looked at it" if tried.get("lapsed") else f"has {tried['share']:.0%}"
    return f"; version {tried['model_version']} {has}"
