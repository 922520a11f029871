"""What submitters and reviewers read, in English and Chinese, one table. Values are filled in by name.

A reason says what is wrong with this row or file; `<code>.remedy` says how to mend it. Each file holds one subject.

The rule: whatever a submitter or a reviewer reads comes from here, in both languages: rows, whole files, datasets, verdicts, and every
error under `errors.Told`, which takes nothing but a `Said` (so mypy holds it). What only an operator reads (a port, a kubeconfig, nginx,
a disk) is English and stands where it is raised.
"""

from typing import NamedTuple

from data_contracts.messages import datasets, emergencies, files, gate, refusals, requests, rows, service, verdicts

_FILES = (rows, files, refusals, requests, datasets, service, gate, verdicts, emergencies)
SUBJECTS = tuple(subject.TABLE for subject in _FILES)
TABLE: dict[str, tuple[str, str]] = {code: said for subject in SUBJECTS for code, said in subject.items()}


class Said(NamedTuple):
    """A message filled in: its stable code, what is wrong, and how to mend it; a remedy may be empty."""

    code: str
    reason_en: str
    reason_zh: str
    remedy_en: str = ""
    remedy_zh: str = ""

    def replaced(self, old: str, new: str) -> "Said":
        """The same with other words in it, such as a file's name for its path."""
        return Said(self.code, *(text.replace(old, new) for text in self[1:]))

    @property
    def en(self) -> str:
        """All of it in English. It may end in a command to paste, so no full stop follows."""
        return _joined(self.reason_en, self.remedy_en, "; ", " ")

    @property
    def zh(self) -> str:
        """All of it in Chinese."""
        return _joined(self.reason_zh, self.remedy_zh, "；", "")

    def __str__(self) -> str:
        return f"{self.en}\n{self.zh}".strip()


def say(code: str, **values: object) -> tuple[str, str]:
    """The message in English and in Chinese.

    Raises:
        KeyError: the table lacks the code, or the message a value (a mistake in the program, not in the data).
    """
    english, chinese = TABLE[code]
    return english.format(**values), chinese.format(**values)


def told(code: str, **values: object) -> Said:
    """The message with its remedy, as an error carries it.

    Raises:
        KeyError: as `say`.
    """
    remedy = f"{code}.remedy"
    return Said(code, *say(code, **values), *(say(remedy, **values) if remedy in TABLE else ()))


def _joined(reason: str, remedy: str, joint: str, after_stop: str) -> str:
    ends = reason.endswith((".", "。"))
    return reason + (after_stop if ends else joint) + remedy if remedy else reason
