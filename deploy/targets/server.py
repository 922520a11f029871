"""A Linux server as a target: systemd keeps the instances of two sides, nginx splits the requests between them.

What is so is read from the server each time, so that any method may be called again after a crash in the middle of it: the instances'
files say what runs, the head of nginx's file who gets which share.

With `rollout.keep_previous` a candidate has a side of its own, whole, and the side before stays: the way back is one reload of nginx.
Without, the switch replaces one instance after the other, and the server never holds more than one besides those it has.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from math import ceil
from pathlib import Path

from configs.settings import Settings
from data_contracts.errors import ChampionUnavailable, EngineUnavailable, TingsuError
from deploy.client import Client
from deploy.operate import canary_window, trial
from deploy.operate.canary_window import Look
from deploy.operate.trial import Where
from deploy.targets import Change, Placed, Status
from deploy.targets import server_front as front
from deploy.targets import server_host as hosts
from deploy.targets import server_install as installation
from deploy.targets import server_mirror as mirror
from deploy.targets import server_release as releases
from deploy.targets import server_units as units
from deploy.targets.server_front import Traffic
from deploy.targets.server_host import Host
from deploy.targets.server_release import Planned
from deploy.targets.server_units import SIDES, Instance, Side


class Server:
    """One machine, this one or another."""

    name = "server"
    can_split = True

    def __init__(self, home: Path, settings: Settings, host: Host | None = None) -> None:
        """`host`: that of the settings if left out."""
        self.home = home
        self.settings = settings
        self.own = settings.rollout.server
        self.host = host or hosts.find(self.own)

    @property
    def mend(self) -> str:
        return f"look on {self.host.name}: systemctl status 'tingsu@*', journalctl -u nginx"

    @property
    def clear(self) -> str:
        return "./tingsu uninstall --yes"

    def changes(self, candidate: Placed) -> tuple[Change, ...]:
        planned = self._planned(candidate)
        side = self._side_of(planned.folder) or self._idle()
        wanted = self._wanted(side, planned.folder)
        parts = [(part.path, part.text) for part in installation.parts(self.home, self.settings)]
        parts += [(f"{planned.folder}/serve", planned.script)]
        parts += [(units.file(self.settings, one), one.text) for one in wanted]
        parts += [(self.own.nginx, front.text(self.settings, Traffic(instances=tuple(wanted), to=side)))]
        found = [Change(what=path, before=hosts.read(self.host, path), after=text) for path, text in parts]
        links = Change(what=f"{self.own.root}/current", before=self._link("current"), after=f"{planned.folder}\n")
        return tuple(change for change in (*found, links) if change.before != change.after)

    def stage(self, candidate: Placed) -> None:
        planned = self._planned(candidate)
        installation.install(self.host, self.home, self.settings)
        releases.lay(self.host, planned, candidate, self.own.user)
        side = self._side_of(planned.folder) or self._idle()
        hosts.link(self.host, f"{self.own.root}/staged", planned.folder)
        first = self._wanted(side, planned.folder)[: None if self.settings.rollout.keep_previous else 1]
        others = [one for one in self._on(side) if one.release != planned.folder]
        units.stop(self.host, self.settings, others)
        self._run(first)

    def verify(self, candidate: Placed) -> None:
        staged = self._on(self._holding(candidate))
        units.wait(self.host, self.settings, staged)
        for one in staged:
            where = Where(self.host.reach(one.port), installation.key(self.host))
            limit_s = self.settings.rollout.verify_timeout_s
            try:
                trial.require(where, Path(candidate.folder), candidate.bundle_digest, limit_s)
            except EngineUnavailable as error:
                raise EngineUnavailable(f"{one.unit} on {self.host.name}: {error}") from error

    def weigh(self, candidate: Placed, share: float) -> str:
        side = self._holding(candidate)
        if not self.settings.rollout.keep_previous:
            release = self._on(side)[0].release
            self._run(self._wanted(side, release)[: max(1, ceil(share * self.own.instances))])
        found = self._found()
        self._route(found, side, share)
        live, tried = ([one for one in found if one.side == of] for of in (_other(side), side))
        mirrored = self.settings.rollout.canary.mirror_share
        mirror.begin(self.host, installation.key(self.host), live, tried, mirrored)
        return self._endpoint()

    def look(self, candidate: Placed, at_s: float) -> Look:
        side = self._holding(candidate)
        for one in self._on(side):
            if units.has_crashed(self.host, one):
                said = units.last_words(self.host, one)
                raise EngineUnavailable(f"{one.unit}, an instance of the candidate, ended by itself: {said}")
        other = [one for one in self._on(_other(side)) if units.is_ready(self.host, one)]
        if not other:
            raise ChampionUnavailable(
                f"no instance of side {_other(side)}, which is live on {self.host.name}, is ready"
            )
        return self._looked(other, self._on(side), at_s)

    def switch(self, candidate: Placed) -> str:
        side = self._ready_side(candidate)
        if self.settings.rollout.keep_previous or not self._on(_other(side)):
            self._give(side)
        else:
            self._roll(side)
        self._end_mirrors()
        self._check(candidate)
        self._settle(side)
        return self._endpoint()

    def undo(self, live: Placed | None, candidate: Placed) -> None:
        if live is None:
            front.close(self.host, self.settings)
            units.stop(self.host, self.settings, self._found())
            hosts.shell(self.host, 'rm -f -- "$1/current" "$1/staged"', self.own.root)
            return
        staged = self._link("staged").strip()
        side = self._back(live)
        self._end_mirrors()
        self._withdraw(side, staged)
        self._check(live)

    def held(self, by: str) -> AbstractContextManager[None]:
        return nullcontext()

    def status(self) -> Status:
        shares = front.shares(self.host, self.settings)
        said = []
        for side in (side for side in SIDES if self._on(side)):
            on = self._on(side)
            ready = sum(units.is_ready(self.host, one) for one in on)
            name = on[0].release.rpartition("/")[2]
            said.append(f"{side}: {name}, {ready} of {len(on)} ready, {shares.get(side, 0):.0%} of requests")
        return Status(endpoint=self._endpoint(), serving=self._serving(), detail="; ".join(said) or "nothing installed")

    def remove(self) -> None:
        """Take away everything that was ever made there.

        Raises:
            ConfigurationError: the root folder is not ours.
            RolloutFailed, EngineUnavailable: see Host.run.
        """
        installation.remove(self.host, self.settings)

    def _planned(self, placed: Placed) -> Planned:
        python = installation.python(self.settings)
        return releases.plan(placed, self.settings, python, units.unit(self.settings))

    def _found(self) -> list[Instance]:
        return units.found(self.host, self.settings)

    def _on(self, side: Side) -> list[Instance]:
        return [one for one in self._found() if one.side == side]

    def _wanted(self, side: Side, release: str) -> list[Instance]:
        return [units.instance(self.settings, side, number + 1, release) for number in range(self.own.instances)]

    def _side_of(self, release: str) -> Side | None:
        """The side that is to run this very release."""
        return next((one.side for one in self._found() if one.release == release), None)

    def _version_side(self, placed: Placed) -> Side | None:
        """The side that runs this version, by whatever code and settings it was staged."""
        stem = f"{self.own.root}/releases/{releases.stem(placed)}"
        return next((one.side for one in self._found() if one.release.startswith(stem)), None)

    def _holding(self, placed: Placed) -> Side:
        """Raises: EngineUnavailable: it is not staged."""
        side = self._side_of(self._planned(placed).folder) or self._version_side(placed)
        if side is None:
            raise EngineUnavailable(f"version {placed.version} is on no side of {self.host.name}; roll it out again")
        return side

    def _idle(self) -> Side:
        """The side that gets fewer requests."""
        shares = front.shares(self.host, self.settings)
        return min(SIDES, key=lambda side: shares.get(side, 0.0))

    def _ready_side(self, placed: Placed) -> Side:
        """The side it serves from: where it is staged or was kept, else staged now. What gets the requests by older code or other
        settings is not taken for it."""
        exact = self._side_of(self._planned(placed).folder)
        if exact is not None:
            return exact
        kept = self._version_side(placed)
        if kept is None or front.shares(self.host, self.settings).get(kept, 0.0) > 0:
            self.stage(placed)
            self.verify(placed)
        return self._holding(placed)

    def _back(self, live: Placed) -> Side:
        """Give the live version the requests."""
        side = self._version_side(live)
        if side is None:  # it was displaced, by an earlier rollout or by hand
            self.stage(live)
            side = self._holding(live)
        self._give(side)
        return side

    def _give(self, side: Side) -> None:
        """All requests to a side: at once to those of its instances that are ready, then to all that it should have."""
        found = self._found()
        ready = [one for one in found if one.side == side and units.is_ready(self.host, one)]
        if ready:
            self._route(ready, side)
        release = next(one.release for one in found if one.side == side)
        wanted = self._wanted(side, release)
        self._run(wanted)
        if ready != wanted:
            self._route(wanted, side)

    def _withdraw(self, kept: Side, staged: str) -> None:
        """End what was staged, unless it is what is kept."""
        if staged and staged != self._on(kept)[0].release:
            units.stop(self.host, self.settings, [one for one in self._found() if one.release == staged])
            if staged not in (self._link("current").strip(), self._link("previous").strip()):
                self.host.run(["rm", "-rf", "--", staged], limit_s=600)
        self.host.run(["rm", "-f", "--", f"{self.own.root}/staged"])

    def _roll(self, side: Side) -> None:
        """One instance after the other: the new one takes over, then the old one answers what it has begun and ends."""
        for done, new in enumerate(self._wanted(side, self._on(side)[0].release), start=1):
            self._run([new])
            old = [one for one in self._on(_other(side)) if one.number <= done]
            kept = [one for one in self._found() if one not in old]
            self._route(kept, side, done / self.own.instances)
            units.stop(self.host, self.settings, old)
        units.stop(self.host, self.settings, self._on(_other(side)))  # those of a larger number

    def _run(self, wanted: Sequence[Instance]) -> None:
        units.start(self.host, self.settings, wanted)
        units.wait(self.host, self.settings, wanted)

    def _route(self, instances: Sequence[Instance], to: Side, share: float = 1.0) -> None:
        front.route(self.host, self.settings, Traffic(instances=tuple(instances), to=to, share=share))

    def _settle(self, side: Side) -> None:
        """Links, and an end of what is older; the version before is remembered once."""
        release, before = self._on(side)[0].release, self._link("current").strip()
        if before and before != release:
            hosts.link(self.host, f"{self.own.root}/previous", before)
        hosts.link(self.host, f"{self.own.root}/current", release)
        self.host.run(["rm", "-f", "--", f"{self.own.root}/staged"])
        releases.prune(self.host, self.own.root, self.own.kept)

    def _looked(self, champion: Sequence[Instance], candidate: Sequence[Instance], at_s: float) -> Look:
        """By the names of instances, which stay the same over another connection."""
        urls = {one: self.host.reach(one.port) for one in (*champion, *candidate)}
        key = installation.key(self.host)
        with ExitStack() as opened:
            clients = {one: opened.enter_context(Client(url, key=key)) for one, url in urls.items()}
            found = canary_window.look([clients[one] for one in champion], [clients[one] for one in candidate], at_s)
        names = {url: one.name for one, url in urls.items()}
        sides = [{names[url]: counted for url, counted in side.items()} for side in (found.champion, found.candidate)]
        return Look(at_s=at_s, champion=sides[0], candidate=sides[1])

    def _end_mirrors(self) -> None:
        mirror.end(self.host, installation.key(self.host), self._found())

    def _check(self, placed: Placed) -> None:
        """Every endpoint, where callers ask."""
        where = Where(self._front(), installation.key(self.host))
        trial.endpoints(where, placed.bundle_digest, self.settings.rollout.verify_timeout_s)

    def _serving(self) -> str | None:
        try:
            with Client(self._front(), timeout_s=10.0, patience_s=0, key=installation.key(self.host)) as client:
                return str(client.model_info()["bundle_digest"])
        except TingsuError:
            return None

    def _link(self, name: str) -> str:
        return hosts.shell(self.host, 'readlink -- "$1" || :', f"{self.own.root}/{name}")

    def _front(self) -> str:
        return self.host.reach(self.settings.ports.service)

    def _endpoint(self) -> str:
        host = self.settings.serve.host
        machine = self.own.host.rpartition("@")[2] or "127.0.0.1"
        return f"http://{machine if host in ('0.0.0.0', '::') else host}:{self.settings.ports.service}"


def _other(side: Side) -> Side:
    return SIDES[1 - SIDES.index(side)]
