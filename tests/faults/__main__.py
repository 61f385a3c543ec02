"""`python -m tests.faults [disk|files|kills] [POINTS]`: tries faults and prints a table, and what went wrong."""

import argparse
import random
import tempfile
import time
from itertools import product
from pathlib import Path

from lth.report.output import Row, console, print_table
from tests.faults import disk
from tests.support.harness import usual
from tests.support.kinds import REPRESENTATIVES
from tests.support.left import state


def main() -> None:
    """Parse the command line and run the kind of faults that it names."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("what", nargs="?", default="disk", choices=["disk", "files", "kills"])
    parser.add_argument(
        "points", nargs="?", type=int, default=None, help="faults on disk; variants of a kind of file; kills"
    )
    given = parser.parse_args()
    if given.what == "disk":
        _disk(given.points or 325)
    elif given.what == "kills":
        from tests.faults import kills

        _print(kills.table(given.points or 30), "method")
    else:
        from tests.faults import files

        _print(files.table(given.points or 100), "file")


def _disk(points: int) -> None:
    draw, combinations = random.Random(0), list(product(disk.OPERATIONS, disk.FAULTS))
    draw.shuffle(combinations)
    found: list[tuple[str, str, str]] = []
    for index, method in enumerate(REPRESENTATIVES):
        numbers = range(points * index // len(REPRESENTATIVES), points * (index + 1) // len(REPRESENTATIVES))
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            overrides = _short(usual(method, root))
            counts, undisturbed = disk.operations(root / "whole", overrides), state(root / "whole")
            for number in numbers:
                operation, fault = combinations[number % len(combinations)]
                at = operation, draw.randint(1, max(counts[operation], 1)), fault
                wrong = disk.try_fault(root / f"run{number}", overrides, at, undisturbed)
                found.append((fault, operation, wrong))
                print(f"{time.strftime('%X')} {number} {method} {at} {wrong or 'equal'}", flush=True)
    _print(disk.table(found), "fault")


def _short(overrides: list[str]) -> list[str]:
    """The overrides of a method, with as few epochs as it can do with: cycles need one each, events of a search two."""
    text = " ".join(overrides)
    return [*overrides, f"recipe.epochs={3 if 'recipe.cycles' in text else 2 if 'method.period' in text else 1}"]


def _print(rows: list[Row], first: str) -> None:
    print_table(console(), rows, {first: first} | {name: name for name in rows[0] if name != first})


if __name__ == "__main__":
    main()
