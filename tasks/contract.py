"""The contract as data: which checks there are, and what it means for a row or a file to fail one."""

import difflib
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from data_contracts.errors import ConfigurationError
from data_contracts.schema import Frozen

FOLDER = Path(__file__).parent.parent / "data_contracts" / "expectations"
Kind = Literal["raw", "labelled"]
Severity = Literal["reject", "quarantine", "duplicate", "refuse", "warn"]
OF_ROWS, OF_FILE = ("reject", "quarantine", "warn"), ("refuse", "warn")
SHAPE = "$value"


class Check(Frozen):
    """One expectation and what its failure means; see raw.yaml."""

    type: str
    kwargs: dict[str, Any]
    severity: Severity
    message: str
    source: str

    def filled(self, bounds: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments with their values from the settings, the taxonomy or the file."""
        return {k: bounds[v[1:]] if isinstance(v, str) and v.startswith("$") else v for k, v in self.kwargs.items()}


class Contract(Frozen):
    """The suites of one kind of file: on its rows, on rows against each other, on all of them. `extends`: a contract whose checks
    come first."""

    name: str
    extends: Kind | None = None
    rows: tuple[Check, ...] = ()
    together: tuple[Check, ...] = ()
    file: tuple[Check, ...] = ()

    @property
    def all(self) -> tuple[Check, ...]:
        return (*self.rows, *self.together, *self.file)


def digest() -> str:
    """SHA-256 of the expectations, so that what was accepted under another contract is checked again."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(FOLDER.glob("*.yaml")))).hexdigest()


def load(kind: Kind = "labelled", severities: Mapping[str, str] | None = None) -> Contract:
    """The expectations as data, with a family's own severities.

    Raises:
        ConfigurationError: no such check, or a severity that it cannot have; says what is allowed.
    """
    read = Contract.model_validate(yaml.safe_load((FOLDER / f"{kind}.yaml").read_text(encoding="utf-8")))
    first = load(read.extends) if read.extends else Contract(name="")
    contract = Contract(
        name=read.name,
        rows=(*first.rows, *read.rows),
        together=(*first.together, *read.together),
        file=(*first.file, *read.file),
    )
    return _with(contract, severities, kind) if severities else contract


def _with(contract: Contract, severities: Mapping[str, str], kind: Kind) -> Contract:
    known = {c.message: OF_FILE if c in contract.file else OF_ROWS for c in contract.all if _is_free(c)}
    every = known if kind == "labelled" else {c.message for c in load().all}
    for code, severity in severities.items():
        if code not in every:
            near = difflib.get_close_matches(code, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
            raise ConfigurationError(f"data.severities has {code!r}, which is no check whose severity can be set{hint}")
        if code in known and severity not in known[code]:
            raise ConfigurationError(f"data.severities.{code} = {severity!r}; allowed: {', '.join(known[code])}")

    def own(checks: Iterable[Check]) -> tuple[Check, ...]:
        return tuple(
            c.model_copy(update={"severity": severities[c.message]}) if c.message in severities else c for c in checks
        )

    return Contract(
        name=contract.name, rows=own(contract.rows), together=own(contract.together), file=own(contract.file)
    )


def _is_free(check: Check) -> bool:
    """A row without shape, text or a category that is one cannot be anything but rejected; repeats are not judged."""
    needed = (SHAPE, "missing_text", "missing_category", "unknown_category", "category_spelling", "duplicate_id")
    return check.message not in (*needed, "bad_confidence", "confidence_range") and check.severity != "duplicate"
