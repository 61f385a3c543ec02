"""Batch-norm statistics when a ticket is trained: carried over, reset, or measured anew."""

from pathlib import Path

import pytest
import torch

from lth.experiment.build import Experiment
from lth.storage.checkpoint import load_checkpoint
from lth.storage.folder import RunFolder
from lth.tickets import Ticket
from tests.support.harness import configuration, train

pytestmark = pytest.mark.slow

SEARCH = "method=gem_miner", "method.period=1", "sparsity.density=0.3", "model.batch_norm=true", "model.affine=false"


def statistics(state: dict) -> dict[str, torch.Tensor]:
    return {n: v.float() for n, v in state.items() if n.endswith(("running_mean", "running_var"))}


def at_the_start_of_fine_tuning(folder: Path, *overrides: str) -> tuple[dict, dict]:
    """The statistics the search ended with, and those that fine-tuning began with; its ticket holds them."""
    train(folder, *SEARCH, *overrides)
    found = load_checkpoint(folder / "level_00_search" / "last.ckpt")["state_dict"]
    left = {name.removeprefix("net."): value for name, value in found.items() if name.startswith("net.")}
    return statistics(left), statistics(Ticket.load(folder / "level_01_finetune" / "ticket.safetensors").weights)


def test_statistics_are_carried_over_unless_asked_otherwise(tmp_path: Path):
    left, begun = at_the_start_of_fine_tuning(tmp_path)
    assert len(left) == 4
    assert all(torch.equal(begun[name], value) for name, value in left.items())
    assert any(value.abs().max() > 0.1 for name, value in begun.items() if name.endswith("mean"))


def test_reset_statistics_are_those_of_a_fresh_network(tmp_path: Path):
    _, begun = at_the_start_of_fine_tuning(tmp_path, "method.bn_reset=true")
    for name, value in begun.items():
        assert (value == (0 if name.endswith("mean") else 1)).all()


def test_measured_statistics_are_the_mean_over_batches_through_the_ticket(tmp_path: Path):
    overrides = ("method.bn_batches=3",)
    left, begun = at_the_start_of_fine_tuning(tmp_path / "run", *overrides)
    ticket = Ticket.load(tmp_path / "run" / "level_01_finetune" / "ticket.safetensors")
    built = Experiment(configuration(tmp_path, *SEARCH, *overrides), RunFolder(tmp_path))
    first = ticket.weights["hidden.0.weight"] * ticket.masks["hidden.0.weight"]
    batches = [x for (x, _), _ in zip(built.data.scoring_batches("0/1"), range(3), strict=False)]
    means = [(x.flatten(1) @ first.T).mean(0) for x in batches]
    variances = [(x.flatten(1) @ first.T).var(0) for x in batches]
    assert torch.allclose(begun["norms.0.running_mean"], torch.stack(means).mean(0), atol=1e-5)
    assert torch.allclose(begun["norms.0.running_var"], torch.stack(variances).mean(0), atol=1e-4)
    assert not torch.allclose(begun["norms.0.running_mean"], left["norms.0.running_mean"], atol=1e-3)


def test_a_negative_number_of_batches_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="bn_batches"):
        Experiment(configuration(tmp_path, *SEARCH, "method.bn_batches=-1"), RunFolder(tmp_path))
