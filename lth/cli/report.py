"""`lth report RUNS... [--out FOLDER]`: tables, pictures and one page of all runs found."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from lth.cli._errors import short_errors
from lth.report.write import write_report


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report; print its tables, the runs left out and the path of the page.

    arguments: the command line; None = that of the process
    """
    parser = argparse.ArgumentParser(prog="lth report", description=__doc__)
    parser.add_argument("runs", nargs="+", help="folders that hold runs, at any depth")
    parser.add_argument("--out", type=Path, default=Path("."), metavar="FOLDER", help="of the report (default: here)")
    parser.add_argument(
        "--column", default="test_accuracy", help="of results.csv: val_loss, ... (default: test_accuracy)"
    )
    given = parser.parse_args(arguments)
    with short_errors():
        print(write_report(given.runs, given.out, given.column))
