"""`python -m lth.verdict runs/...`: has the winning ticket won? Judges the runs of method=sanity."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from lth.report.collect import collect
from lth.report.results import as_csv
from lth.report.sanity_checks import in_words, runs_of, settings_table, verdicts


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, print the verdicts, write sanity.csv, verdict.txt and verdict.json where --out says."""
    parser = argparse.ArgumentParser(prog="python -m lth.verdict", description=__doc__)
    parser.add_argument("runs", nargs="+", help="folders that hold runs, at any depth")
    parser.add_argument("--out", type=Path, help="where the files go (default: none are written)")
    given = parser.parse_args(arguments)
    try:
        print(judge(given.runs, given.out))
    except ValueError as error:
        sys.exit(f"error: {error}")


def judge(paths: list[str], out: Path | None = None) -> str:
    """The verdicts on the sanity runs under `paths`, in words; written to `out` where given."""
    folders = collect(paths)
    found = verdicts(folders)
    text = in_words(found)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "sanity.csv").write_text(as_csv(settings_table(runs_of(folders))))
        (out / "verdict.txt").write_text(text)
        (out / "verdict.json").write_text(json.dumps({name: asdict(v) for name, v in found.items()}, indent=1))
    return text
