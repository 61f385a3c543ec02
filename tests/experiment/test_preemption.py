"""At SIGUSR1 or SIGUSR2 a run saves its state after the epoch, exits with code 75, and resumes to the same bits."""

import os
import signal
from pathlib import Path

import pytest

from lth.modules.classifier import Classifier
from lth.storage.checkpoint import load_checkpoint
from lth.training import signals
from tests.support.harness import train
from tests.support.left import state

pytestmark = pytest.mark.slow

LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3]"


@pytest.fixture(autouse=True)
def forget():
    """Clears the noted signals, which belong to the process, after each test."""
    yield
    signals._noted.clear()


def signal_in_step(monkeypatch, count: int, signum: int) -> None:
    step, done = Classifier.training_step, [0]

    def counted(self, *args):
        done[0] += 1
        if done[0] == count:
            os.kill(os.getpid(), signum)
        return step(self, *args)

    monkeypatch.setattr(Classifier, "training_step", counted)


@pytest.mark.parametrize("signum", signals.SIGNALS)
@pytest.mark.parametrize("step", [2, 11, 18])  # of four an epoch, twelve a level
def test_it_leaves_at_the_epochs_end_and_resumes_to_the_same_bits(step: int, signum: int, tmp_path: Path, monkeypatch):
    train(tmp_path / "whole", *LADDER)
    with monkeypatch.context() as patch:
        signal_in_step(patch, step, signum)
        with pytest.raises(SystemExit) as left:
            train(tmp_path / "asked", *LADDER, "checkpoint_seconds=1000")
    assert left.value.code == signals.AGAIN == 75
    level = sorted((tmp_path / "asked").glob("level_*"))[-1]
    saved = load_checkpoint(level / "last.ckpt")
    assert saved["global_step"] == (step - 1) % 12 // 4 * 4 + 4
    signals._noted.clear()
    train(tmp_path / "asked", *LADDER)
    assert state(tmp_path / "asked") == state(tmp_path / "whole")


def test_lightnings_own_requeueing_never_gets_the_signal(tmp_path: Path, monkeypatch):
    heard = []

    def look(self, *args, step=Classifier.training_step):
        heard.append([signal.getsignal(signum) for signum in signals.SIGNALS])
        return step(self, *args)

    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "lth")
    for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(Classifier, "training_step", look)
    train(tmp_path, "sparsity=dense", "method=dense", "recipe.epochs=1")
    assert heard
    assert all(handlers == [signals._note, signals._note] for handlers in heard)
