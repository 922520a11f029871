"""Settings of what a candidate must show: its speed under load, and the bounds of the gate."""

from pydantic import Field, model_validator

from configs.section import Section


class BenchmarkSettings(Section):
    """Open-loop load on the real service: `rate_qps` calls a second for `duration_s`, after `warmup_s`."""

    rate_qps: float = Field(default=5.0, gt=0)
    duration_s: float = Field(default=20.0, gt=0)
    warmup_s: float = Field(default=3.0, ge=0)


class Bound(Section):
    """One promise. Absolute: `at_least`/`at_most`. `margin`: candidate − champion may lose at most this. `over_baseline`: in
    F1 points over TF-IDF. Exactly one of the four."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    margin: float | None = Field(default=None, ge=0)
    over_baseline: float | None = None
    binding: bool = True

    @model_validator(mode="after")
    def _one_kind(self) -> "Bound":
        kinds = [k for k in ("at_least", "at_most", "margin", "over_baseline") if getattr(self, k) is not None]
        if len(kinds) != 1:
            raise ValueError(
                f"bound on {self.metric!r} has {kinds or 'no kind'}; give exactly one of at_least, at_most, margin, over_baseline"
            )
        return self


class GateSettings(Section):
    """The thresholds of promotion. `improve`: at most one metric that must truly get better than the champion's.

    `leak_jaccard`: a training call this like a gold call is one. `max_gold_looks`: candidates one gold set may judge before
    verdicts warn: of equals, one in forty looks better by luck."""

    bounds: tuple[Bound, ...] = ()
    improve: str | None = None
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=2000, ge=200)
    approval: bool = False
    leak_jaccard: float = Field(default=0.9, gt=0.5, le=1)
    max_gold_looks: int = Field(default=20, ge=1)
    seed: int = Field(default=11, ge=0, lt=2**31)
