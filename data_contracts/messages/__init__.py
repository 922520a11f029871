"""What submitters and reviewers read, in English and Chinese, one table. Values are filled in by name.

A reason says what is wrong with this row or file; `<code>.remedy` says how to mend it. Each file holds one subject.
"""

from data_contracts.messages import datasets, files, gate, rows, service

SUBJECTS = (rows.TABLE, files.TABLE, datasets.TABLE, service.TABLE, gate.TABLE)
TABLE: dict[str, tuple[str, str]] = {code: said for subject in SUBJECTS for code, said in subject.items()}


def say(code: str, **values: object) -> tuple[str, str]:
    """The message in English and in Chinese.

    Raises:
        KeyError: the table lacks the code, or the message a value (a mistake in the program, not in the data).
    """
    english, chinese = TABLE[code]
    return english.format(**values), chinese.format(**values)
