"""`python -m lth.report runs/... [--out FOLDER]`: table and picture of all runs found, incomplete ones listed."""

import argparse
import sys
from pathlib import Path

from lth.report.collect import collect
from lth.report.picture import draw
from lth.report.tables import markdown, summarise
from lth.results import as_csv


def main() -> None:
    """Read the command line, write report.csv, report.md and report.png."""
    parser = argparse.ArgumentParser(prog="python -m lth.report", description=__doc__)
    parser.add_argument("runs", nargs="+", help="folders that hold runs, at any depth")
    parser.add_argument("--out", type=Path, default=Path("."), help="where the report goes (default: here)")
    parser.add_argument(
        "--column", default="test_accuracy", help="which column of results.csv (default: test_accuracy)"
    )
    arguments = parser.parse_args()
    try:
        runs = collect(arguments.runs)
        rows = summarise(runs, arguments.column)
    except (ValueError, KeyError) as error:
        sys.exit(f"error: {error}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = markdown(rows)
    (arguments.out / "report.csv").write_text(as_csv(rows))
    (arguments.out / "report.md").write_text(table + "\n")
    print(table)
    if rows:
        print(draw(rows, arguments.out / "report.png", arguments.column.replace("_", " ")))
    for run in runs:
        if not run.complete:
            print(f"incomplete, left out: {run.path} ({len(run.rows)} levels finished)")


if __name__ == "__main__":
    main()
