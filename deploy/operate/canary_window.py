"""What a canary is judged by, read from the services' own /metrics: two looks at the counters make a window."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from data_contracts.errors import ChampionUnavailable, EngineUnavailable
from data_contracts.schema import Frozen
from deploy.canary.window import Histogram, Side, Window
from deploy.client import Client

CLASSIFYING = ("/api/v1/classify", "/v1/chat/completions")
LEAST_ERROR = 499  # the caller left before the answer

Sample = tuple[str, dict[str, str], float]  # name, labels, value


class Counted(Frozen):
    """One service's counters since it started. `together`: requests by the calls in them; `mirrored`, `disagreed`: see Window."""

    side: Side
    together: Histogram
    mirrored: int = 0
    disagreed: int = 0


class Look(Frozen):
    """Both sides' services, by address, at one moment (`at_s`, of any clock that only goes forward and outlives the controller).

    A service that holds both sides stands on both.
    """

    at_s: float
    champion: dict[str, Counted]
    candidate: dict[str, Counted]


def look(champion: Sequence[Client], candidate: Sequence[Client], at_s: float) -> Look:
    """Read every service of both sides, where each has one side.

    Raises:
        ChampionUnavailable, EngineUnavailable: one of the champion's side, or of the candidate's, does not answer.
        ConfigurationError: one wants another key.
    """
    live = {url: counted(samples) for url, samples in _of_champion(champion).items()}
    return Look(at_s=at_s, champion=live, candidate={c.url: read(c) for c in candidate})


def read(service: Client) -> Counted:
    """A service that has one side.

    Raises:
        EngineUnavailable: it does not answer.
        ConfigurationError: it wants another key.
    """
    return counted(_samples(service))


def look_within(services: Sequence[Client], at_s: float) -> Look:
    """Read services that hold both sides themselves, told apart by the label `side`.

    Raises:
        ChampionUnavailable: one does not answer.
        ConfigurationError: one wants another key.
    """
    read = _of_champion(services)
    of = [{url: counted(samples, side) for url, samples in read.items()} for side in ("champion", "candidate")]
    return Look(at_s=at_s, champion=of[0], candidate=of[1])


def _of_champion(services: Sequence[Client]) -> dict[str, list[Sample]]:
    """Raises: ChampionUnavailable: one does not answer."""
    try:
        return {client.url: _samples(client) for client in services}
    except EngineUnavailable as error:
        raise ChampionUnavailable(str(error)) from error


def between(before: Look, now: Look) -> Window:
    """What was answered from one look to the next.

    A service that was started anew counts from zero; one that was not looked at before counts from the next look on; one that is gone
    takes what it did since the last look with it.
    """
    gained = [
        _gained(old[url], new[url])
        for old, new in ((before.champion, now.champion), (before.candidate, now.candidate))
        for url in new.keys() & old.keys()
    ]
    together = sum((one.together for one in gained), Histogram())
    return Window(
        champion=_side(before.champion, now.champion),
        candidate=_side(before.candidate, now.candidate),
        seconds=max(now.at_s - before.at_s, 0.0),
        mirrored=sum(one.mirrored for one in gained),
        disagreed=sum(one.disagreed for one in gained),
        together=_size(together),
    )


def _side(before: dict[str, Counted], now: dict[str, Counted]) -> Side:
    return sum((_gained(before[url], now[url]).side for url in sorted(now.keys() & before.keys())), Side())


def _gained(before: Counted, now: Counted) -> Counted:
    """Counters only rise; where one fell, the service was started anew."""
    old, new = before.side, now.side
    if any(b < a for a, b in _counters(before, now)):
        return now
    side = Side(
        requests=new.requests - old.requests,
        errors=new.errors - old.errors,
        refusals=new.refusals - old.refusals,
        latency_s=_less(new.latency_s, old.latency_s),
        categories={name: count - old.categories.get(name, 0) for name, count in new.categories.items()},
        reviews=new.reviews - old.reviews,
        confidence=_less(new.confidence, old.confidence),
        label_mass=_less(new.label_mass, old.label_mass),
    )
    return Counted(
        side=side,
        together=_less(now.together, before.together),
        mirrored=max(now.mirrored - before.mirrored, 0),
        disagreed=max(now.disagreed - before.disagreed, 0),
    )


def _counters(before: Counted, now: Counted) -> Iterator[tuple[int, int]]:
    """Every counter then and now: after a start the sum may have passed the old one already, and a rare count not."""
    old, new = before.side, now.side
    yield from (
        (old.requests, new.requests),
        (old.errors, new.errors),
        (old.refusals, new.refusals),
        (old.reviews, new.reviews),
    )
    yield from ((before.mirrored, now.mirrored), (before.disagreed, now.disagreed))
    yield from ((count, new.categories.get(name, 0)) for name, count in old.categories.items())
    pairs = [(old.latency_s, new.latency_s), (old.confidence, new.confidence), (old.label_mass, new.label_mass)]
    for then, later in (*pairs, (before.together, now.together)):
        yield sum(then.counts), sum(later.counts)
        yield from zip(then.counts, later.counts, strict=False)


def _less(new: Histogram, old: Histogram) -> Histogram:
    return new + Histogram(le=old.le, counts=tuple(-count for count in old.counts))


def _size(together: Histogram) -> float:
    """Calls of a call's own request, at most (a bucket's upper edge): Kish's Σ m² / Σ m over the requests."""
    sizes = (*together.le, *(2 * edge for edge in together.le[-1:]))
    calls = sum(n * m for n, m in zip(together.counts, sizes, strict=True))
    return max(sum(n * m * m for n, m in zip(together.counts, sizes, strict=True)) / calls, 1.0) if calls else 1.0


def _samples(client: Client) -> list[Sample]:
    from prometheus_client.parser import text_string_to_metric_families

    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(client.metrics())
        for sample in family.samples
    ]


def counted(samples: Sequence[Sample], of: str = "") -> Counted:
    """One service's counters from its samples, of one side if that is named; what it does not count is left empty."""
    samples = [(name, labels, value) for name, labels, value in samples if not of or labels.get("side", of) == of]
    asked = [
        (labels, int(value))
        for name, labels, value in samples
        if name == "qwen3_inference_requests_total" and labels["endpoint"] in CLASSIFYING
    ]
    answers = [(labels, int(value)) for name, labels, value in samples if name == "tingsu_answers_total"]
    categories: dict[str, int] = {}
    for labels, value in answers:
        categories[labels["category"]] = categories.get(labels["category"], 0) + value
    side = Side(
        requests=sum(value for _, value in asked),
        errors=sum(value for labels, value in asked if int(labels["status"]) >= LEAST_ERROR),
        refusals=sum(value for labels, value in asked if 400 <= int(labels["status"]) < LEAST_ERROR),
        latency_s=_histogram(samples, "qwen3_inference_duration_seconds"),
        categories=categories,
        reviews=sum(value for labels, value in answers if labels["decision"] == "review"),
        confidence=_histogram(samples, "tingsu_confidence_share"),
        label_mass=_histogram(samples, "tingsu_label_mass_share"),
    )
    is_asking = of != "candidate"  # the champion's own answers are mirrored
    return Counted(
        side=side,
        together=_histogram(samples, "tingsu_request_calls"),
        mirrored=is_asking * _total(samples, "tingsu_mirrored_calls_total"),
        disagreed=is_asking * _total(samples, "tingsu_mirror_disagreed_calls_total"),
    )


def _total(samples: Sequence[Sample], name: str) -> int:
    return int(sum(value for found, _, value in samples if found == name))


def _histogram(samples: Sequence[Sample], name: str) -> Histogram:
    """Prometheus counts everything up to an edge; here each bucket has its own. Of classifying endpoints, where it knows them."""
    below: dict[float, int] = {}
    for found, labels, value in samples:
        if found == f"{name}_bucket" and labels.get("endpoint", CLASSIFYING[0]) in CLASSIFYING:
            edge = float(labels["le"])
            below[edge] = below.get(edge, 0) + int(value)
    edges = sorted(below)
    counts = [b - a for a, b in pairwise([0, *(below[edge] for edge in edges)])]
    return Histogram(le=tuple(edges[:-1]), counts=tuple(counts))
