"""Settings of what is submitted: the contract of a dataset family, and its split."""

from typing import Literal

from pydantic import Field

from configs.section import Section, Share

Severity = Literal["reject", "quarantine", "refuse", "warn"]


class DataSettings(Section):
    """The contract of a dataset family. Near-duplicate: Jaccard of character 5-grams at or above the threshold.

    Of a call, where it names speakers: `max_same_speaker_run` turns of one of them in a row, shares of turns without words and of turns
    that say what was said before, and seconds that turns may go on after the call ended. Of its characters: Chinese among letters and
    digits, runs of symbols, traces of a wrong decoding.

    `severities`: for the code of a check, `reject`, `quarantine` or `warn` (of the whole file: `refuse` or `warn`) instead of what
    data_contracts/expectations says. `data.families.NAME` in the home's settings.yaml holds what differs for one family.
    """

    family: str = Field(default="complaints", pattern=r"^[a-z0-9][a-z0-9-]*$")
    near_duplicate_jaccard: float = Field(default=0.9, gt=0.5, le=1)
    min_rows: int = Field(default=200, ge=10)
    min_rows_per_category: int = Field(default=20, ge=2)
    min_accepted_share: Share = 0.9
    min_chars: int = Field(default=4, ge=1)
    max_chars: int = Field(default=20_000, ge=100)
    max_same_speaker_run: int = Field(default=8, ge=1)
    max_empty_share: Share = 0.5
    max_repeated_share: Share = 0.5
    max_turn_overrun_s: float = Field(default=5.0, ge=0)
    min_cjk_share: Share = 0.2
    max_symbol_share: Share = 0.3
    max_mojibake_share: Share = 0.05
    severities: dict[str, Severity] = Field(default={})


class SplitSettings(Section):
    """Shares of groups; the rest trains. A group's side is a hash of its id, so it never moves."""

    gold_share: float = Field(default=0.2, gt=0, lt=0.6)
    validation_share: float = Field(default=0.1, gt=0, lt=0.3)
    calibration_share: float = Field(default=0.1, gt=0, lt=0.3)
    gold_after: str | None = None
