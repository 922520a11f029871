"""Two versions on the gold calls that both answered, whichever versions of the gold set they were judged on.

Their kept answers are read, nothing is scored. A champion was scored again on the gold calls of every candidate judged beside
it: where one of the two was the other's rival, they have the same calls.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_contracts.artifacts import Interval, Report, Version
from data_contracts.errors import GateRefused
from data_contracts.taxonomy import Taxonomy
from deploy.store import Store
from tasks import cited, gate, metrics, resample, versions
from tasks.answered import Answers, answer, select
from tasks.evaluate import LEVEL
from tasks.gate import Evidence
from tasks.versions import Registry


class Change(NamedTuple):
    """A metric of both, and what the second has more, with the 95 % interval of that."""

    a: float
    b: float
    more: Interval


class Pair(NamedTuple):
    """`answers` of both to the same calls, in the same order; `of`: how many gold calls each answered; `golds`: their digests."""

    answers: tuple[Answers, Answers]
    of: tuple[int, int]
    golds: tuple[str, str]
    evidence: Evidence

    @property
    def calls(self) -> int:
        return len(self.answers[0].ids)

    @property
    def customers(self) -> int:
        return len(np.unique(self.answers[0].groups))


def pair(at: Registry, a: Version, b: Version) -> Pair | None:
    """What two versions of one taxonomy answered alike; None where evidence or answers of one are not kept any more, or their
    families differ."""
    first, second = _evidence(at, a), _evidence(at, b)
    if first is None or second is None or first.splits.family != second.splits.family:
        return None
    one, other = _reports(first, second, a.bundle.digest, b.bundle.digest)
    if not all(at.store.has(report.predictions.key) for report in (one, other)):
        return None
    return Pair(
        answers=_shared(_answers(one, first.taxonomy, at.store), _answers(other, first.taxonomy, at.store)),
        of=(one.rows, other.rows),
        golds=(one.rows_digest, other.rows_digest),
        evidence=second,
    )


def changes(found: Pair) -> Mapping[str, Change]:
    """Every metric that is defined on these calls; the difference is paired, over customers drawn anew."""
    table, how = metrics.table(found.evidence.taxonomy), found.evidence.settings
    drawn = resample.resample(found.answers, table, how.resamples, how.seed)
    more = {name: drawn.difference(name, of=1, minus=0) for name in table}
    first, second = (dict(zip(drawn.names, values, strict=True)) for values in drawn.values)
    return {
        name: Change(float(first[name]), float(second[name]), draws.interval(LEVEL))
        for name, draws in more.items()
        if draws.is_defined
    }


def _evidence(at: Registry, version: Version) -> Evidence | None:
    try:
        return gate.reread(cited.read(at.store, version.bundle, versions.stored_verdict(at, version)))
    except GateRefused:
        return None


def _reports(first: Evidence, second: Evidence, a: str, b: str) -> tuple[Report, Report]:
    """The reports to compare: two on the same gold set, if there are such."""
    ours, theirs = [first.reports["served"]], [second.reports["served"]]
    if second.champion is not None and second.champion_bundle == a:
        ours.append(second.champion)
    if first.champion is not None and first.champion_bundle == b:
        theirs.append(first.champion)
    alike = ((one, other) for one in ours for other in theirs if one.rows_digest == other.rows_digest)
    return next(alike, (ours[0], theirs[0]))


def _answers(report: Report, taxonomy: Taxonomy, store: Store) -> Answers:
    return answer(report.predictions, report.calibration, taxonomy, store)


def _shared(one: Answers, other: Answers) -> tuple[Answers, Answers]:
    """Of both the calls that both answered, under the same category."""
    places = {name: at for at, name in enumerate(other.ids)}
    mine = np.array([at for at, name in enumerate(one.ids) if name in places], dtype=np.intp)
    its: NDArray[np.intp] = np.array([places[one.ids[at]] for at in mine], dtype=np.intp)
    same = one.truth[mine] == other.truth[its]
    return select(one, mine[same]), select(other, its[same])
