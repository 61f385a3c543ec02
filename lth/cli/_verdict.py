"""`lth verdict RUNS... [--out FOLDER]`: whether the winning ticket beats its controls. Judges runs of method=sanity."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lth.cli._errors import short_errors
from lth.report.collect import Run, collect
from lth.report.output import write_csv
from lth.report.sanity_checks import in_words, runs_of, settings_table, verdicts
from lth.sanity.judge import Verdict
from lth.storage.atomic import write_text


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the verdicts; with --out write sanity.csv, verdict.txt and verdict.json.

    arguments: the command line; None = that of the process
    """
    parser = argparse.ArgumentParser(prog="lth verdict", description=__doc__)
    parser.add_argument("runs", nargs="+", help="folders that hold runs, at any depth")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder for the files (default: none are written)")
    given = parser.parse_args(arguments)
    with short_errors():
        print(judge(given.runs, given.out))


def judge(paths: Sequence[str | Path], out: Path | None = None) -> str:
    """The verdicts on the sanity runs under `paths`, in words.

    paths: folders that hold runs, at any depth
    out: folder for sanity.csv, verdict.txt and verdict.json; None = none are written

    Runs of several networks or datasets are judged apart; the names of their verdicts say which.
    Raises ValueError if there is no such run.
    """
    groups = _by_task(collect(paths))
    found: dict[str, Verdict] = {}
    rows: list[dict[str, Any]] = []
    for task, folders in groups.items():
        where = f"{' on '.join(task)}, " if len(groups) > 1 else ""
        found |= {f"{where}{name}": verdict for name, verdict in verdicts(folders).items()}
        named = dict(zip(("model", "dataset"), task, strict=True)) if len(groups) > 1 else {}
        rows += [{**named, **row} for row in settings_table(runs_of(folders))]
    text = in_words(found)
    if out is not None:
        write_csv(out / "sanity.csv", rows)
        write_text(out / "verdict.txt", text)
        write_text(out / "verdict.json", json.dumps({name: asdict(v) for name, v in found.items()}, indent=1))
    return text


def _by_task(folders: Sequence[Run]) -> dict[tuple[str, str], list[Run]]:
    """(model, dataset) -> sanity runs. Raises ValueError if there are none."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for folder in folders:
        if folder.is_sanity_check:
            choices = folder.config["choices"]
            groups.setdefault((choices["model"], choices["dataset"]), []).append(folder)
    if not groups:
        raise ValueError("no run of method=sanity among these folders")
    return groups
