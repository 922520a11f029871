"""What two sides answered in the same stretch of time: counts only, so that windows add up and no call is named."""

from typing import Self

from pydantic import Field, model_validator

from data_contracts.errors import ConfigurationError
from data_contracts.schema import Frozen


class Histogram(Frozen):
    """Values by bucket: `counts[i]` lie above `le[i - 1]` and at most at `le[i]`, the last above every edge. Empty: not measured."""

    le: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _one_count_a_bucket(self) -> Self:
        if len(self.counts) != len(self.le) + bool(self.le) or list(self.le) != sorted(set(self.le)):
            raise ValueError(f"{len(self.counts)} counts for edges {self.le}; give rising edges and one count more")
        return self

    def __add__(self, other: "Histogram") -> "Histogram":
        if not self.le or not other.le:
            return self if self.le else other
        if self.le != other.le:
            raise ConfigurationError(
                f"one side counts in buckets up to {self.le}, the other up to {other.le}; run the same service on both"
            )
        return Histogram(le=self.le, counts=tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)))

    @property
    def middles(self) -> tuple[float, ...]:
        """What a value in each bucket counts as; above the last edge it counts as that edge."""
        return (*((low + high) / 2 for low, high in zip((0.0, *self.le), self.le, strict=False)), *self.le[-1:])

    def quantile(self, share: float) -> float:
        """Between a bucket's edges by the logarithm; for positive values such as seconds. nan of no value."""
        want, below = share * sum(self.counts), 0
        for low, high, count in zip((self.le[0] / 2, *self.le), (*self.le, 2 * self.le[-1]), self.counts, strict=True):
            if count and below + count >= want:
                return float(low * (high / low) ** ((want - below) / count))
            below += count
        return float("nan")


class Side(Frozen):
    """One side. `requests` end with a status, `errors` are those of 499 (the caller left) and above, `refusals` those of 400 to 498: a
    caller's fault, unless one side refuses more of them than the other; a request holds calls."""

    requests: int = Field(default=0, ge=0)
    errors: int = Field(default=0, ge=0)
    refusals: int = Field(default=0, ge=0)
    latency_s: Histogram = Histogram()
    categories: dict[str, int] = Field(default_factory=dict)
    reviews: int = Field(default=0, ge=0)
    confidence: Histogram = Histogram()
    label_mass: Histogram = Histogram()

    @property
    def calls(self) -> int:
        return sum(self.categories.values())

    def __add__(self, other: "Side") -> "Side":
        names = self.categories.keys() | other.categories.keys()
        return Side(
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            refusals=self.refusals + other.refusals,
            latency_s=self.latency_s + other.latency_s,
            categories={name: self.categories.get(name, 0) + other.categories.get(name, 0) for name in sorted(names)},
            reviews=self.reviews + other.reviews,
            confidence=self.confidence + other.confidence,
            label_mass=self.label_mass + other.label_mass,
        )


class Window(Frozen):
    """Both sides over the same `seconds`.

    mirrored: calls that both sides were asked; `disagreed`: those answered with another category.
    together: calls that went to one side together, in one request: they count as one of them.
    """

    champion: Side = Side()
    candidate: Side = Side()
    seconds: float = Field(default=0.0, ge=0)
    mirrored: int = Field(default=0, ge=0)
    disagreed: int = Field(default=0, ge=0)
    together: float = Field(default=1.0, ge=1)

    def __add__(self, other: "Window") -> "Window":
        return Window(
            champion=self.champion + other.champion,
            candidate=self.candidate + other.candidate,
            seconds=self.seconds + other.seconds,
            mirrored=self.mirrored + other.mirrored,
            disagreed=self.disagreed + other.disagreed,
            together=max(self.together, other.together),
        )
