"""How much personal data is found, and how much else: recall and precision by type on planted calls (`--mistakes` shows each).

Sets: `first`, on which the recognisers were mended; `second` to `fourth`, written after them by others, with other sentences and
values; `fifth`, whole calls written out by one who did not know the recognisers, 220 of them. What counts as found
and as right is said in tests/data_contracts/planting.py. Exit code 1 if recall is below 0.98 or precision below 0.95 for any type.
"""

import argparse
import sys

from data_contracts.personal import MASKS
from tests.data_contracts import planting
from tests.data_contracts.planting import Score

RECALL, PRECISION = 0.98, 0.95
SETS = planting.SETS


def main() -> None:
    asked = argparse.ArgumentParser(prog="./tingsu bench personal", description=__doc__)
    asked.add_argument("--each", type=int, default=500, help="sentences a type")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--set", choices=SETS, action="append", help="default: all")
    asked.add_argument("--mistakes", action="store_true")
    options = asked.parse_args()
    passed = True
    for name in options.set or SETS:
        cases = list(planting.texts(name, options.each, options.seed))
        found = planting.scores(cases)
        print(table(name, found))
        passed &= all(map(holds, found.values()))
        for mistake in planting.mistakes(cases) if options.mistakes else ():
            print(" | ".join(part.replace("\n", " / ") for part in mistake))
    sys.exit(0 if passed else 1)


def holds(score: Score) -> bool:
    return score.recall >= RECALL and score.precision >= PRECISION


def table(name: str, found: dict[str, Score]) -> str:
    """Markdown."""
    lines = [f"| {name} set | planted | recall | given | precision |", "|---|" + "---:|" * 4]
    for kind in MASKS:
        s = found[kind]
        lines.append(f"| {kind} | {s.planted} | {s.recall:.3f} | {s.given} | {s.precision:.3f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
