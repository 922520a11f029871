"""Calls as records, with the truth about each kept apart from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import accumulate, islice
from random import Random

from data_contracts.samples.customers import Customer, callers
from data_contracts.samples.dialogue import Plot, draw_plot, play
from data_contracts.samples.grammar import pick
from data_contracts.samples.material import Category, Material, load_material
from data_contracts.samples.personal import Planted

Record = dict[str, object]
BEIJING = timezone(timedelta(hours=8))
FIRST_DAY = datetime(2026, 1, 1, tzinfo=BEIJING)
DAYS = 181  # to 2026-06-30
WRONG_SHARE = 0.03


@dataclass(frozen=True, slots=True)
class Truth:
    """What the generator knows of a call and the record does not say. Scenario: `category/scenario`."""

    planted: tuple[Planted, ...]
    true_category: str
    scenario: str
    wrong_label: bool
    hard_negative: bool
    secondary: str | None


def generate_with_truth(calls: int, seed: int) -> Iterator[tuple[Record, Truth]]:
    """The first `calls` synthetic calls of `seed`, each with its truth."""
    yield from islice(_stream(Random(seed)), calls)


def generate(calls: int, seed: int, labelled: bool = True) -> Iterator[Record]:
    """The first `calls` synthetic calls of `seed`, one at a time, in constant memory.

    Args:
        calls: how many; fewer of the same seed are the first of more.
        seed: everything random comes from it.
        labelled: with `complaint_category` and `confidence_score`, as after annotation; else as recorded.
    """
    for record, _ in generate_with_truth(calls, seed):
        if not labelled:
            del record["complaint_category"], record["confidence_score"]
        yield record


def _stream(rng: Random) -> Iterator[tuple[Record, Truth]]:
    material = load_material()
    categories = tuple(material.categories.values())
    shares = tuple(accumulate(category.share for category in categories))
    for customer in callers(rng, material.words["region"]):
        (category,) = rng.choices(categories, cum_weights=shares)
        plot = draw_plot(rng, material, category)
        truth = _truth(plot, rng.random() < WRONG_SHARE)
        yield _record(rng, material, customer, plot, truth), truth


def _truth(plot: Plot, is_wrong: bool) -> Truth:
    category, scenario = plot.category, plot.scenario
    return Truth(
        planted=plot.planted,
        true_category=category.key,
        scenario=f"{category.key}/{scenario.id}",
        wrong_label=is_wrong,
        hard_negative=scenario.is_hard_negative,
        secondary=plot.aside.key if plot.aside else None,
    )


def _record(rng: Random, material: Material, customer: Customer, plot: Plot, truth: Truth) -> Record:
    return {
        "conversation_id": f"call-{rng.getrandbits(64):016x}",
        "customer_id": customer.id,
        "started_at": _started_at(rng),
        "channel": pick(rng, material.words["channel"]),
        "region": customer.region,
        "turns": play(rng, material, plot),
        "complaint_category": _annotated(rng, plot.category, truth),
        "confidence_score": _confidence(rng, truth),
        "synthetic": True,
    }


def _started_at(rng: Random) -> str:
    """A moment between 08:00 and 22:00, ISO 8601, Beijing time."""
    second = 8 * 3600 + int(14 * 3600 * rng.random())
    return (FIRST_DAY + timedelta(days=int(DAYS * rng.random()), seconds=second)).isoformat()


def _annotated(rng: Random, category: Category, truth: Truth) -> str:
    return pick(rng, category.confused_with) if truth.wrong_label else category.key


def _confidence(rng: Random, truth: Truth) -> float:
    """How sure the annotator was, 0 to 1: less on mixed calls, less still when wrong, never telling for certain."""
    doubt = 0.3 * rng.random() ** 2
    doubt += 0.15 * rng.random() if truth.secondary else 0.0
    doubt += 0.35 * rng.random() if truth.wrong_label else 0.0
    return round(1.0 - doubt, 2)
