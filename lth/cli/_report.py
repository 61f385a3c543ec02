"""`lth report RUNS... [--out FOLDER] [--watch]`: tables, pictures and one page of all runs found.

With --watch nothing is written: the page is served on this machine and follows the runs until Ctrl-C.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from lth.cli._errors import short_errors
from lth.report.watch import watch
from lth.report.write import write_report


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report; print its tables, the runs left out and the path of the page. With --watch, serve the page.

    arguments: the command line; None = that of the process
    """
    parser = argparse.ArgumentParser(prog="lth report", description=__doc__)
    parser.add_argument("runs", nargs="+", help="folders that hold runs, at any depth")
    parser.add_argument("--out", type=Path, default=Path("."), metavar="FOLDER", help="folder to write (default: here)")
    parser.add_argument(
        "--column", default="test_accuracy", help="column of results.csv, such as val_loss (default: test_accuracy)"
    )
    parser.add_argument("--watch", action="store_true", help="serve the page on localhost and refresh it; Ctrl-C ends")
    parser.add_argument("--port", type=int, default=8765, help="port for --watch; 0 = any free one (default: 8765)")
    parser.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="interval of --watch (default: 5)")
    given = parser.parse_args(arguments)
    with short_errors():
        if given.watch:
            watch(given.runs, given.column, given.port, given.every)
        else:
            print(write_report(given.runs, given.out, given.column))
