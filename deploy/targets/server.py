"""A Linux server as a target: systemd keeps the instances of two sides, nginx splits the requests between them.

What is so is read from the server each time, so that any method may be called again after a crash in the middle of it: the instances'
files say what runs, the head of nginx's file who gets which share, the link `current` what is live while another one is tried.

With `rollout.keep_previous` a candidate has a side of its own, whole, and the side before stays: the way back is one reload of nginx.
Without, the switch replaces one instance after the other, and the server never holds more than one besides those it has.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import ceil
from pathlib import Path
from socket import gethostname

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
from deploy.targets import server_lock as lock
from deploy.targets import server_mirror as mirror
from deploy.targets import server_release as releases
from deploy.targets import server_tls as tls
from deploy.targets import server_units as units
from deploy.targets import server_unwatched as unwatched
from deploy.targets.server_front import Traffic
from deploy.targets.server_host import Host
from deploy.targets.server_release import Planned
from deploy.targets.server_sides import Sides, other
from deploy.targets.server_units import Instance, Side

LOOK_S = 4.0
"""How long a look waits for an instance: whoever carries a rollout out hears no undo meanwhile."""


class Server:
    """One machine, this one or another."""

    name = "server"

    def __init__(self, home: Path, settings: Settings, host: Host | None = None) -> None:
        """`host`: that of the settings if left out."""
        self.home = home
        self.settings = settings
        self.own = settings.rollout.server
        self.host = host or hosts.find(self.own)
        self.sides = Sides(self.host, settings)
        self._still_held: Callable[[], None] = lambda: None
        self._share = 0.0

    @property
    def mend(self) -> str:
        return f"look on {self.host.name}: systemctl status 'tingsu@*', journalctl -u nginx"

    @property
    def clear(self) -> str:
        return "./tingsu uninstall --yes"

    def changes(self, candidate: Placed) -> tuple[Change, ...]:
        tls.require(self.host, self.settings)
        tls.require_in_date(self.host, self.settings)
        planned = self._planned(candidate)
        side = self.sides.running(planned.folder) or self.sides.idle()
        wanted = self.sides.wanted(side, planned.folder)
        parts = [(part.path, part.text) for part in installation.parts(self.host, self.home, self.settings)]
        parts += [(f"{planned.folder}/{name}", text) for name, text in planned.files.items() if name != "unit"]
        parts += [(units.unit_file(one), planned.files["unit"]) for one in wanted]
        parts += [(units.file(self.settings, one), one.text) for one in wanted]
        parts += [(self.own.nginx, front.text(self.settings, Traffic(instances=tuple(wanted), to=side)))]
        found = [Change(what=path, before=hosts.read(self.host, path), after=text) for path, text in parts]
        links = Change(what=f"{self.own.root}/current", before=self.sides.links()["current"], after=planned.folder)
        return tuple(change for change in (*found, links) if change.before != change.after)

    def unsplit(self, candidate: Placed) -> str:
        return ""

    def stage(self, candidate: Placed) -> None:
        self._still_held()
        planned = self._planned(candidate)
        installation.install(self.host, self.home, self.settings)
        releases.lay(self.host, planned, candidate, self.own.user)
        side = self.sides.running(planned.folder) or self.sides.idle()
        hosts.link(self.host, f"{self.own.root}/staged", planned.folder)
        first = self.sides.wanted(side, planned.folder)[: None if self.settings.rollout.keep_previous else 1]
        self.sides.clear(side, planned.folder)
        self.sides.run(first)

    def verify(self, candidate: Placed) -> None:
        staged = self.sides.on(self._holding(candidate))
        units.wait(self.host, self.settings, staged)
        for one in staged:
            where = Where(self.host.reach(one.port), installation.key(self.host))
            limit_s = self.settings.rollout.verify_timeout_s
            try:
                trial.require(where, Path(candidate.folder), candidate.bundle_digest, limit_s)
            except EngineUnavailable as error:
                raise EngineUnavailable(f"{one.unit} on {self.host.name}: {error}") from error

    def weigh(self, candidate: Placed, share: float) -> str:
        self._still_held()
        side = self._holding(candidate)
        if not self.settings.rollout.keep_previous:
            self.sides.make_room(side, max(1, ceil(share * self.own.instances)))
        found = self.sides.found()
        self.sides.split(found, side, share)
        self._share = share
        live, tried = ([one for one in found if one.side == of] for of in (other(side), side))
        self._mirror(live, tried)
        return self._endpoint()

    def look(self, candidate: Placed, at_s: float) -> Look:
        if unwatched.put_off(self.host, self.settings) and self._share:  # it ended: this machine slept
            self.weigh(candidate, self._share)
        side, found = self._holding(candidate), self.sides.found()
        tried = [one for one in found if one.side == side]
        for one in tried:
            if units.has_crashed(self.host, one):
                said = units.last_words(self.host, self.settings, one)
                raise EngineUnavailable(f"{one.unit}, an instance of the candidate, ended by itself: {said}")
        live = [one for one in found if one.side != side and units.is_ready(self.host, one)]
        if not live:
            raise ChampionUnavailable(f"no instance of side {other(side)}, which is live on {self.host.name}, is ready")
        if self._share:
            self._mirror(live, tried)
        return self._looked(live, tried, at_s)

    def switch(self, candidate: Placed) -> str:
        self._still_held()
        unwatched.put_off(self.host, self.settings)  # what ends it is the first step that routes
        side = self._ready_side(candidate)
        if self.settings.rollout.keep_previous or not self.sides.on(other(side)):
            self.sides.give(side)
        else:
            self.sides.roll(side, self._still_held)
        installation.share_keys(self.host, self.home, self.settings)
        self._end_mirrors()
        self._check(candidate)
        self.sides.settle(side)
        return self._endpoint()

    def undo(self, live: Placed | None, candidate: Placed) -> None:
        self._still_held()
        links = self.sides.links()
        side = self._off(candidate, links) if live is None else self._back(live, links)
        self._end_mirrors()
        try:
            if live is not None:
                self._check(live)
        finally:
            self.sides.withdraw(candidate, side, links)

    @contextmanager
    def held(self, by: str) -> Iterator[None]:
        with lock.held(self.host, f"{by} on {gethostname()} with {self.home}") as self._still_held:
            try:
                tls.require(self.host, self.settings)  # every step has nginx read them
                yield
            finally:
                self._still_held = lambda: None

    def status(self) -> Status:
        (shares, canary), found = front.head(self.host, self.settings), self.sides.found()
        ready, said = units.ready(self.host, found), []
        for side in sorted({one.side for one in found}):
            on, up = ([one for one in some if one.side == side] for some in (found, ready))
            name = on[0].release.rpartition("/")[2]
            why = " any more, since nobody looked at it" if canary == "lapsed" and not shares.get(side) else ""
            said.append(f"{side}: {name}, {len(up)} of {len(on)} ready, {shares.get(side, 0):.0%} of requests{why}")
        answering = [one for one in ready if shares.get(one.side, 0) > 0]
        serving, why = None, "no instance of what gets the requests there is ready" if shares else ""
        if answering:
            try:
                serving, why = self._serving(shares, answering), ""
            except TingsuError as error:
                why = str(error)
        return Status(
            endpoint=self._endpoint(),
            serving=serving,
            detail="; ".join(said) or "nothing installed",
            untold=f"{why}; wait until it answers, or end it: {self.clear}" if why else "",
        )

    def remove(self) -> None:
        """Take away everything that was ever made there.

        Raises:
            ConfigurationError: the root folder is not ours.
            RolloutFailed, EngineUnavailable: see Host.run.
        """
        installation.remove(self.host, self.settings)

    def _planned(self, placed: Placed) -> Planned:
        python = installation.python(self.settings)
        return releases.plan(placed, self.settings, python, units.unit(self.settings), self.home)

    def _holding(self, placed: Placed) -> Side:
        """Raises: EngineUnavailable: it is not staged."""
        side = self.sides.running(self._planned(placed).folder) or self.sides.of_version(placed)
        if side is None:
            raise EngineUnavailable(f"version {placed.version} is on no side of {self.host.name}; roll it out again")
        return side

    def _ready_side(self, placed: Placed) -> Side:
        """The side it serves from: where it is staged or was kept, else staged now. What gets the requests by older code or other
        settings is not taken for it."""
        found, planned = self.sides.found(), self._planned(placed).folder  # once: callers wait
        exact = next((one.side for one in found if one.release == planned), None)
        if exact is not None:
            return exact
        kept = next((one.side for one in found if releases.is_of(one.release, placed)), None)
        if kept is not None and front.shares(self.host, self.settings).get(kept, 0.0) == 0:
            return kept
        self.stage(placed)
        self.verify(placed)
        return self._holding(placed)

    def _back(self, live: Placed, links: dict[str, str]) -> Side:
        """Give the live version the requests."""
        found = [one for one in self.sides.found() if releases.is_of(one.release, live)]
        by_link = [one for name in ("current", "previous") for one in found if one.release == links[name]]
        side = next((one.side for one in (*by_link, *found)), None)
        if side is None:  # it was displaced, by an earlier rollout or by hand
            self.stage(live)
            side = self._holding(live)
        self.sides.give(side)
        return side

    def _off(self, candidate: Placed, links: dict[str, str]) -> Side | None:
        """Take the requests, if it has any, off a candidate before which this home knows nothing: back to what was live, if that is
        loaded still; then its side."""
        side, shares = self.sides.of_version(candidate), front.shares(self.host, self.settings)
        if shares and (side is None or not shares.get(side)):
            return None
        others = [links[name] for name in ("current", "previous") if not releases.is_of(links[name], candidate)]
        loaded = [its for release in others if (its := self.sides.running(release))]
        if shares and loaded:
            self.sides.give(loaded[0])
            return loaded[0]
        front.close(self.host, self.settings)
        return None

    def _looked(self, champion: Sequence[Instance], candidate: Sequence[Instance], at_s: float) -> Look:
        """By the names of instances, which stay the same over another connection."""
        urls = {one: self.host.reach(one.port) for one in (*champion, *candidate)}
        key = installation.key(self.host)
        with ExitStack() as opened:
            clients = {one: opened.enter_context(Client(url, LOOK_S, 0.0, key=key)) for one, url in urls.items()}
            found = canary_window.look([clients[one] for one in champion], [clients[one] for one in candidate], at_s)
        names = {url: one.name for one, url in urls.items()}
        sides = [{names[url]: counted for url, counted in side.items()} for side in (found.champion, found.candidate)]
        return Look(at_s=at_s, champion=sides[0], candidate=sides[1])

    def _mirror(self, live: Sequence[Instance], tried: Sequence[Instance]) -> None:
        """From now on, and no longer than somebody looks."""
        mirror.begin(self.host, installation.key(self.host), live, tried, self.settings.rollout.canary)

    def _end_mirrors(self) -> None:
        mirror.end(self.host, installation.key(self.host), self.sides.found())

    def _check(self, placed: Placed) -> None:
        """Every endpoint, where callers ask."""
        where = Where(self._front(), installation.key(self.host))
        trial.endpoints(where, placed.bundle_digest, self.settings.rollout.verify_timeout_s)

    def _serving(self, shares: dict[Side, float], answering: Sequence[Instance]) -> str:
        """Of what is live: while another version is tried beside it, the front answers by lot, so an instance is asked.

        Raises: TingsuError: it does not say.
        """
        is_split = any(0 < share < 1 for share in shares.values())
        current = self.sides.links()["current"] if is_split else ""
        live = [one for one in answering if one.release == current]
        url = self.host.reach(live[0].port) if live else self._front()
        with Client(url, timeout_s=10.0, patience_s=0, key=installation.key(self.host)) as client:
            return str(client.model_info()["bundle_digest"])

    def _front(self) -> str:
        return self.host.reach(self.settings.ports.service)

    def _endpoint(self) -> str:
        host = self.settings.serve.host
        machine = self.own.host.rpartition("@")[2] or "127.0.0.1"
        return tls.url(self.settings, machine if host in ("0.0.0.0", "::") else host)
