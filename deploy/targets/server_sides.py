"""The two sides of a server: what each runs, which of them gets the requests, and the links that say what is live."""

from collections.abc import Callable, Sequence

from configs.settings import Settings
from deploy.targets import Placed
from deploy.targets import server_front as front
from deploy.targets import server_host as hosts
from deploy.targets import server_release as releases
from deploy.targets import server_units as units
from deploy.targets.server_front import Traffic
from deploy.targets.server_host import Host
from deploy.targets.server_units import SIDES, Instance, Side


class Sides:
    """Every answer is read from the server anew. All raise as Host.run; what starts or routes also as `units.wait`, `front.route`."""

    def __init__(self, host: Host, settings: Settings) -> None:
        self.host = host
        self.settings = settings
        self.own = settings.rollout.server

    def found(self) -> list[Instance]:
        return units.found(self.host, self.settings)

    def on(self, side: Side) -> list[Instance]:
        return [one for one in self.found() if one.side == side]

    def wanted(self, side: Side, release: str) -> list[Instance]:
        return [units.instance(self.settings, side, number + 1, release) for number in range(self.own.instances)]

    def running(self, release: str) -> Side | None:
        """The side that is to run this very release."""
        return next((one.side for one in self.found() if one.release == release), None)

    def of_version(self, placed: Placed) -> Side | None:
        """The side that runs this version, by whatever code and settings it was staged."""
        return next((one.side for one in self.found() if releases.is_of(one.release, placed)), None)

    def idle(self) -> Side:
        """The side that does not hold what is live; while nothing is, the one that gets fewer requests."""
        live = self.running(self.links()["current"])
        if live is not None:
            return other(live)
        shares = front.shares(self.host, self.settings)
        return min(SIDES, key=lambda side: shares.get(side, 0.0))

    def clear(self, side: Side, release: str) -> None:
        """End whatever else than this release a side runs; requests that it gets go to the other side first."""
        others = [one for one in self.on(side) if one.release != release]
        rest = self.on(other(side))
        if others and rest and front.shares(self.host, self.settings).get(side, 0.0) > 0:
            self.route(rest, other(side))
        self.end(others)

    def end(self, unwanted: Sequence[Instance]) -> None:
        """Stop these, which get no new requests, once what nginx took for them is answered; nothing of one that hangs ever is."""
        if units.ready(self.host, unwanted):
            front.drain(self.host, self.settings)
        units.stop(self.host, self.settings, unwanted)

    def give(self, side: Side) -> None:
        """All requests to a side: at once to those of its instances that are ready, then to all that it should have. Where there is no
        room for two sides the other one makes way before the rest of them start."""
        own = self.on(side)
        wanted, ready = self.wanted(side, own[0].release), units.ready(self.host, own)
        makes_way = not (self.settings.rollout.keep_previous or set(wanted) <= set(ready))
        if makes_way and not ready:
            ready = wanted[:1]
            self.run(ready)
        if ready:
            self.route(ready, side)
        if makes_way:
            self.end(self.on(other(side)))
        self.run(wanted)
        if not set(wanted) <= set(ready):
            self.route([*wanted, *(one for one in ready if one not in wanted)], side)

    def make_room(self, side: Side, count: int) -> None:
        """Have `count` instances of a side run where the server holds but one besides those it has: for each one more, one of the other
        side ends, whose requests the rest get."""
        found = self.found()
        leaving = [one for one in found if one.side != side and one.number < count]
        kept = [one for one in found if one not in leaving]
        if leaving and any(one.side != side for one in kept):
            self.split(kept, side, front.shares(self.host, self.settings).get(side, 0.0))
            self.end(leaving)
        self.run(self.wanted(side, self.on(side)[0].release)[:count])

    def roll(self, side: Side, still_held: Callable[[], None]) -> None:
        """One instance after the other: the new one takes over, then the old one answers what it has begun and ends. Every instance
        gets as much, also where a roll that was killed goes on."""
        wanted = self.wanted(side, self.on(side)[0].release)
        for new in wanted:
            still_held()
            self.run([new])
            found = self.found()
            old = [one for one in found if one.side != side and (one.number <= new.number or new == wanted[-1])]
            kept = [one for one in found if one not in old]
            self.route(kept, side, sum(one.side == side for one in kept) / len(kept))
            self.end(old)

    def run(self, wanted: Sequence[Instance]) -> None:
        units.start(self.host, self.settings, wanted)
        units.wait(self.host, self.settings, wanted)

    def route(self, instances: Sequence[Instance], to: Side, share: float = 1.0) -> None:
        front.route(self.host, self.settings, Traffic(instances=tuple(instances), to=to, share=share))

    def split(self, instances: Sequence[Instance], to: Side, share: float) -> None:
        """As `route`, for as long as somebody looks."""
        front.tries(self.host, self.settings, Traffic(instances=tuple(instances), to=to, share=share))

    def links(self) -> dict[str, str]:
        """Where each of them leads; empty: there is none."""
        script = 'root=$1; shift; for name in "$@"; do readlink -- "$root/$name" || echo; done'
        lines = hosts.shell(self.host, script, self.own.root, *releases.LINKS).splitlines()
        return dict(zip(releases.LINKS, lines, strict=True))

    def settle(self, side: Side) -> None:
        """Links, and an end of what is older; the version before is remembered once."""
        release, before = self.on(side)[0].release, self.links()["current"]
        if before and before != release:
            hosts.link(self.host, f"{self.own.root}/previous", before)
        hosts.link(self.host, f"{self.own.root}/current", release)
        self.host.run(["rm", "-f", "--", f"{self.own.root}/staged"])
        releases.prune(self.host, self.own.root, self.own.kept)

    def withdraw(self, candidate: Placed, kept: Side | None, links: dict[str, str]) -> None:
        """End what was staged of the candidate, unless it is what is kept, and have the links say what serves. `links`: those of
        before. What stayed loaded since it was live, and was not staged anew, stays."""
        serves = self.on(kept)[0].release if kept else ""
        ours = {links[name] for name in ("staged", "current") if releases.is_of(links[name], candidate)}
        gone = sorted(ours - {serves})
        self.end([one for one in self.found() if one.release in gone])
        self._remove([release for release in gone if release != links["previous"]])
        if serves:
            hosts.link(self.host, f"{self.own.root}/current", serves)
        over = {"staged": {*gone, serves}, "current": {*gone}, "previous": {serves}}
        self._remove([f"{self.own.root}/{name}" for name, to in self.links().items() if to in over[name]])

    def _remove(self, paths: Sequence[str]) -> None:
        if paths:
            self.host.run(["rm", "-rf", "--", *paths], limit_s=600)


def other(side: Side) -> Side:
    """The one that is not this."""
    return SIDES[1 - SIDES.index(side)]
