"""A file that is refused: its answer, whether it could be read as calls or not, and the sentence that says why."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data_contracts.errors import ContractViolation
from data_contracts.messages import Said, say
from tasks import answer, catalog, submitted

LISTS = {"rejected": answer.REJECTS, "quarantined": answer.DOUBTS}  # where the rows kept out are listed


class Refused(ContractViolation):
    """A file that was not accepted; `summary` is its answer, as in summary.json. One that could not be read has no `rows` there."""

    def __init__(self, said: Said, summary: Mapping[str, Any]) -> None:
        super().__init__(said)
        self.summary = dict(summary)

    @property
    def answer(self) -> dict[str, object]:
        """Everything that was found."""
        return self.summary


@contextmanager
def answered(path: Path, mapping: Mapping[str, str], out: Path, name: str) -> Iterator[None]:
    """Within it, a file that cannot be read as calls gets its answer in `out` too: report.html and summary.json.

    Raises:
        Refused: instead of the `ContractViolation` of such a file.
    """
    try:
        yield
    except ContractViolation as error:
        if isinstance(error, Refused):
            raise
        about = {"name": catalog.tidied(name), "file": catalog.tidied(path.name)}
        out.mkdir(parents=True, exist_ok=True)
        raise Refused(error.said, answer.write_unread(out, about, discreet(error.said, path, mapping))) from error


def discreet(said: Said, path: Path, mapping: Mapping[str, str]) -> Said:
    """A message that may be kept and forwarded: of the path only the name, and no personal data in it or in a column's."""
    said = said.replaced(str(submitted.place(path)), catalog.tidied(path.name)).replaced(
        str(path), catalog.tidied(path.name)
    )
    for column in filter(None, mapping.values()):  # nothing stands between any two letters
        said = said.replaced(column, catalog.tidied(column))
    return said


def sentence(path: Path, summary: Mapping[str, Any], out: Path) -> Said:
    """In both languages: why, for what rows were kept out, and the lists that have any."""
    worst = ", ".join(f"{code} ×{rows}" for code, rows in list(summary["by_code"].items())[:4])
    lists = [str(out / name) for part, name in LISTS.items() if summary[part]]
    english = "; ".join(r["reason_en"] for r in summary["refusals"])
    chinese = "；".join(r["reason_zh"] for r in summary["refusals"])
    reasons = [say("file_refused", path=path, reasons_en=english, reasons_zh=chinese)]
    reasons += [say("file_refused.rows", codes=worst)] if worst else []
    report = out / answer.REPORT
    remedy = (
        say("file_refused.lists", report=report, en=" and ".join(lists), zh="、".join(lists))
        if lists
        else say("file_refused.report", report=report)
    )
    return Said("file_refused", " ".join(en for en, _ in reasons), "".join(zh for _, zh in reasons), *remedy)
