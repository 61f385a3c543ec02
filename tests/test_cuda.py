"""What only a CUDA device can show; without one every test of this file is skipped."""

import warnings
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from lth.experiment.build import Experiment
from lth.modules.kept_weights import KeptWeights
from lth.storage.folder import RunFolder
from lth.tickets import Ticket
from tests.support.harness import configuration, train, train_apart
from tests.support.left import rows, state

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
PHOTOS = "model=resnet20", "dataset.channels=3", "dataset.image_size=32"
LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3]"
CUDA = "trainer=gpu", "trainer.deterministic=warn", "trainer.benchmark=false", "recipe.precision=bf16-mixed"


@pytest.fixture(autouse=True)
def leave_as_it_was():
    yield
    torch.use_deterministic_algorithms(False)


def masks(folder: Path) -> list[dict[str, torch.Tensor]]:
    return [Ticket.load(path).masks for path in sorted(folder.glob("level_*/ticket.safetensors"))]


def test_imp_in_bf16_trains_prunes_and_repeats_to_the_bit(tmp_path: Path):
    for name in ("first", "again"):
        train(tmp_path / name, *LADDER, *CUDA, *PHOTOS)
    assert state(tmp_path / "first") == state(tmp_path / "again")
    assert [float(row["density"]) for row in rows(tmp_path / "first")] == pytest.approx([1, 0.5, 0.3], abs=1e-3)
    assert all(float(row["train_loss"]) < 2 for row in rows(tmp_path / "first"))


@pytest.mark.parametrize("step", [3, 10, 18])
def test_a_killed_run_resumes_to_the_same_bits(step: int, tmp_path: Path):
    train(tmp_path / "whole", *LADDER, *CUDA)
    assert train_apart(tmp_path / "killed", [*LADDER, *CUDA], ("step", step)) == -9
    train(tmp_path / "killed", *LADDER, *CUDA)
    assert state(tmp_path / "killed") == state(tmp_path / "whole")


@pytest.mark.parametrize("method", ["snip", "synflow", "random", "magnitude_at_init"])
def test_masks_at_initialisation_are_those_of_the_cpu(method: str, tmp_path: Path):
    """The same weights and samples; in float64 the order of sums moves no score across the threshold."""
    how = f"method={method}", "sparsity.density=0.3", "recipe.precision=64-true", "recipe.epochs=1"
    train(tmp_path / "cuda", *how, "trainer=gpu")
    train(tmp_path / "cpu", *how)
    for ours, theirs in zip(masks(tmp_path / "cuda"), masks(tmp_path / "cpu"), strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


class Synchronisations(pl.Callback):
    """Counts what waits for the device inside training steps, the first few left out."""

    def __init__(self, skip: int):
        self.skip, self.found, self.steps = skip, [], 0

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step >= self.skip:
            self.caught = warnings.catch_warnings(record=True)
            self.seen = self.caught.__enter__()
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")

    def on_train_batch_end(self, trainer, *_):
        if torch.cuda.get_sync_debug_mode():
            torch.cuda.set_sync_debug_mode("default")
            self.caught.__exit__(None, None, None)
            self.steps += 1
            self.found += [str(w.message) for w in self.seen if "synchroniz" in str(w.message).lower()]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_training_step_never_waits_for_the_device(precision: str, tmp_path: Path):
    how = "method=omp", "method.plan._target_=lth.plan.single", "sparsity.density=0.3"
    where = *PHOTOS, "trainer=gpu", f"recipe.precision={precision}"
    built = Experiment(configuration(tmp_path, *how, *where), RunFolder(tmp_path))
    level = built.levels[0]
    module, boundary = built.build_level(level)
    assert isinstance(module, KeptWeights)
    watch = Synchronisations(skip=2)
    built.trainer(level, [*boundary, watch], []).fit(module, datamodule=built.data)
    assert watch.steps > 5
    assert watch.found == []
