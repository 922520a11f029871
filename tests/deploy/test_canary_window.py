"""Windows of a canary from real services' counters: what was answered in between, nothing else."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from data_contracts.errors import EngineUnavailable
from data_contracts.schema import Call
from deploy.canary import judge
from deploy.canary.window import Histogram, Side
from deploy.client import Client
from deploy.operate import canary_window
from deploy.operate.canary_window import Counted, Look, between
from deploy.service.metrics import SECONDS, SHARES
from deploy.store import FolderStore
from tests.deploy import served
from tests.deploy.canary_world import SETTINGS
from tests.deploy.served import TAXONOMY, Served

CALLS = [Call(text=f"客户：第{i}次来电，账单还是多扣了三十元。") for i in range(24)]


@pytest.fixture(scope="module")
def pair(home: Path) -> Iterator[tuple[Served, Served]]:
    """Two services whose models answer differently; the second is slow."""
    store = FolderStore(home / "store-canary")
    folders = [
        served.promote(store, served.fake_bundle(store, **of), home) for of in ({}, {"delay_s": 0.1, "shift": 5.0})
    ]
    with served.serving(folders[0], home) as champion, served.serving(folders[1], home) as candidate:
        yield champion.ready(), candidate.ready()


def test_a_window_holds_what_both_services_answered_between_two_looks(pair: tuple[Served, Served]) -> None:
    with Client(pair[0].url) as champion, Client(pair[1].url) as candidate:
        champion.classify(CALLS[:5], 1)  # before the first look
        before = canary_window.look([champion], [candidate], 100.0)
        answers = champion.classify(CALLS, 1), candidate.classify(CALLS[:8], 8)
        assert httpx.post(f"{pair[1].url}/api/v1/classify", json={"text": 3}).status_code == 422
        window = between(before, canary_window.look([champion], [candidate], 130.0))

    assert (window.seconds, window.mirrored, window.disagreed) == (30.0, 0, 0)
    assert (window.champion.requests, window.champion.refusals) == (24, 0)
    assert (window.candidate.requests, window.candidate.refusals, window.candidate.errors) == (2, 1, 0)
    for side, own in zip((window.champion, window.candidate), answers, strict=True):
        keys = [answer["category"]["key"] for answer in own]
        assert {key: n for key, n in side.categories.items() if n} == {key: keys.count(key) for key in keys}
        assert side.reviews == sum(answer["decision"] == "review" for answer in own)
        assert side.confidence == histogram([answer["confidence"] for answer in own])
        assert sum(side.label_mass.counts) == len(own)
    assert window.candidate.latency_s.le == SECONDS
    assert window.champion.latency_s.quantile(0.5) < 0.1 <= window.candidate.latency_s.quantile(1.0)
    assert 1 < window.together <= 8


def histogram(values: list[float]) -> Histogram:
    edges = (*SHARES, float("inf"))
    index = [next(i for i, edge in enumerate(edges) if value <= edge) for value in values]
    return Histogram(le=SHARES, counts=tuple(index.count(i) for i in range(len(edges))))


def test_every_category_that_is_answered_is_one_of_the_taxonomy(pair: tuple[Served, Served]) -> None:
    with Client(pair[0].url) as champion:
        found = canary_window.look([champion], [], 0.0).champion[champion.url]

    assert found.side.categories.keys() <= set(TAXONOMY.keys)


def test_a_candidate_that_answers_otherwise_and_late_is_found_from_the_counters_alone(
    pair: tuple[Served, Served],
) -> None:
    state = judge.begin(SETTINGS, TAXONOMY.keys)
    with Client(pair[0].url) as champion, Client(pair[1].url) as candidate, ThreadPoolExecutor(16) as callers:
        before = canary_window.look([champion], [candidate], 0.0)
        for tick in range(1, 17):
            calls = [Call(text=f"客户：{tick}月的账单第{i}项不对。") for i in range(25)]
            list(
                callers.map(
                    lambda ask: ask[0].classify([ask[1]]), [(c, call) for call in calls for c in (champion, candidate)]
                )
            )
            now = canary_window.look([champion], [candidate], float(tick))
            state, before = judge.feed(state, between(before, now)), now
    found = judge.decide(state, "2026-11-22T00:00:00+00:00")

    assert found.decision == "breach"
    assert {"category_mix", "latency"} <= set(found.signals)
    assert found.not_measured == ("disagreement",)
    assert found.candidate.requests == 16 * 25


def test_a_service_that_is_gone_is_said_to_be(pair: tuple[Served, Served]) -> None:
    with (
        Client(pair[0].url) as champion,
        Client(f"http://127.0.0.1:{served.free_port()}") as gone,
        pytest.raises(EngineUnavailable, match="does not answer"),
    ):
        canary_window.look([champion], [gone], 0.0)


def at(seconds: float, **requests: int) -> Look:
    """Candidate services with so many requests."""
    counters = {url: Counted(side=Side(requests=n), together=Histogram()) for url, n in requests.items()}
    return Look(at_s=seconds, champion={}, candidate=counters)


def test_a_service_started_anew_counts_from_zero_and_a_new_one_from_the_next_look() -> None:
    first, second, third = at(0, a=100, b=100), at(10, a=7, b=105, c=900), at(20, b=106, c=903)

    assert between(first, second).candidate.requests == 7 + 5
    assert between(second, third).candidate.requests == 1 + 3


def test_a_service_started_anew_is_known_by_any_counter_that_fell() -> None:
    def seen(at_s: float, requests: int, reviews: int) -> Look:
        side = Side(requests=requests, categories={"x": requests}, reviews=reviews)
        return Look(at_s=at_s, champion={}, candidate={"a": Counted(side=side, together=Histogram())})

    found = between(seen(0, 100, 50), seen(10, 120, 7)).candidate
    assert (found.requests, found.reviews) == (120, 7)


def test_looks_survive_being_written_down(pair: tuple[Served, Served]) -> None:
    with Client(pair[0].url) as champion, Client(pair[1].url) as candidate:
        found = canary_window.look([champion], [candidate], 1.0)

    assert Look.model_validate_json(found.model_dump_json()) == found
