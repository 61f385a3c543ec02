"""`lth.levels` in a script whose Trainer starts two ranks: the same masks on both, and resumption after a kill."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lth
from lth.pruning.masks import fingerprint
from lth.storage.checkpoint import load_checkpoint

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path

import torch

from tests.support.scripts import Foreign, ladder

torch.manual_seed(1)
dies_at = int(sys.argv[2]) or None
ladder(Path(sys.argv[1]), Foreign, dies_at=dies_at, options={"devices": 2, "strategy": "ddp"})
"""


def run(folder: Path, dies_at: int = 0) -> int:
    """Run the script in `folder`; returns its exit code."""
    script = folder.parent / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(folder), str(dies_at)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, cwd=folder.parent, timeout=600, check=False).returncode


def left(folder: Path) -> dict[str, tuple[str, str]]:
    found = {}
    for level in sorted(folder.glob("level_*")):
        end = load_checkpoint(level / "end.ckpt")
        found[level.name] = fingerprint(end["weights"]), fingerprint(end["masks"])
    return found


def test_two_ranks_train_one_network_and_resume_to_the_same_bits(tmp_path):
    assert run(tmp_path / "whole") == 0
    assert run(tmp_path / "killed", dies_at=5) != 0
    assert run(tmp_path / "killed") == 0
    assert left(tmp_path / "killed") == left(tmp_path / "whole")
    ticket = lth.Ticket.load(tmp_path / "whole" / "level_02_density_0.2" / "ticket.safetensors")
    assert ticket.density == pytest.approx(0.2, abs=1e-3)
