"""Mutation tests of the suite: `python -m tests.mutations` puts one fault at a time into a copy of the code.

Every fault must make one of its tests fail; all of these tests belong to `make test`. Prints a table: the fault, and
the test that caught it. Arguments choose faults by a part of their names. Takes about 15 minutes on two cores, run by
hand after changes to the core; a fault whose line is no longer in the code is reported as such.
"""

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from multiprocessing.pool import Pool
from pathlib import Path

import pytest

from tests.mutations.faults import FAULTS, Fault

ROOT = Path(__file__).parents[2]
OUTSIDE = "hydra", "numpy", "pytorch_lightning", "torch._dynamo", "torchmetrics.classification"  # imported once


def put(fault: Fault, copy: Path) -> bool:
    """Copy the tracked files to `copy` with the fault in them; False where its line is not in the code."""
    files = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True).stdout
    for name in files.splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    text = (copy / fault.file).read_text() if (copy / fault.file).is_file() else ""
    if fault.old not in text:
        return False
    (copy / fault.file).write_text(text.replace(fault.old, fault.new))
    return True


class _FirstFailure:
    """A pytest plugin that remembers the first test that fails."""

    name = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.name:
            self.name = f"{report.nodeid} (not imported)"


def caught_by(fault: Fault) -> str:
    """The test that fails with the fault in the code; "" where all pass. Runs in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        if not put(fault, copy):
            return "(the fault's line is not in the code)"
        for name in [name for name in sys.modules if name.partition(".")[0] in ("lth", "tests")]:
            del sys.modules[name]
        sys.path[:] = [str(copy), *(path for path in sys.path if path not in ("", str(ROOT)))]
        os.environ.update(PYTHONPATH=str(copy), PYTHONDONTWRITEBYTECODE="1", OMP_NUM_THREADS="1")
        sys.dont_write_bytecode = True
        os.chdir(copy)
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
        found = _FirstFailure()
        chosen = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not engine", *fault.tests.split()]
        code = pytest.main(chosen, plugins=[found])
        return found.name or ("" if code == 0 else f"(pytest ended with {code})")


def main(wanted: list[str]) -> int:
    """Try the faults; print the table; returns how many were not caught."""
    faults = [fault for fault in FAULTS if not wanted or any(part in fault.name for part in wanted)]
    for library in OUTSIDE:
        __import__(library)
    survivors = 0
    with Pool(2, context=multiprocessing.get_context("fork"), maxtasksperchild=1) as pool:
        print("| fault | file | caught by |\n| --- | --- | --- |")
        for fault, test in zip(faults, pool.imap(caught_by, faults, chunksize=1), strict=True):
            survivors += not test.startswith("tests/")
            print(f"| {fault.name} | {fault.file} | {test or '**nothing**'} |", flush=True)
    print(f"\n{len(faults) - survivors} of {len(faults)} caught")
    return survivors


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
