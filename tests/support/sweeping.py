"""Starts sweeps from tests as a user does, and looks at what they left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from lth.training.signals import die_with_parent
from tests.support.harness import SMALL
from tests.support.tiers import check_not_fast

ROOT = Path(__file__).parents[2]


def sweep(cwd: Path, *overrides: str, defaults: Iterable[str] = SMALL, **environment: str) -> subprocess.Popen:
    """Start `python run.py -m ...` on the small experiment; its output goes to `cwd`/output.

    defaults: overrides that hold unless others set the same keys
    """
    check_not_fast()
    command = [sys.executable, str(ROOT / "run.py"), "-m", *_without(defaults, overrides), *overrides]
    with (cwd / "output").open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=cwd,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
            start_new_session=True,
            preexec_fn=_as_from_a_terminal,
        )


def _as_from_a_terminal() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in the background
    die_with_parent()


def output(cwd: Path) -> str:
    """What the sweeps in `cwd` printed."""
    return (cwd / "output").read_text()


def run_folders(cwd: Path) -> list[Path]:
    """The folders of the runs in `cwd` that came to their end, in order."""
    return sorted(path.parent for path in cwd.glob("runs/**/curve.png"))


def wait_for(condition: Callable[[], object], seconds: float = 600) -> None:
    """Wait until `condition` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def _without(defaults: Iterable[str], overrides: Iterable[str]) -> list[str]:
    given = {override.partition("=")[0] for override in overrides}
    return [default for default in defaults if default.partition("=")[0] not in given]
