"""Two processes grow where the gradient of the global batch is largest, and hold the same masks."""

from pathlib import Path

import pytest
import torch

from lth.tickets import Ticket
from tests.support.harness import train, train_on_ranks
from tests.support.tiers import engine_but

WAYS = {
    "rigl": ["method=rigl", "method.order=replace_step"],
    "accumulated": ["method=rigl", "method.order=after_step", "recipe.accumulate=2", "recipe.epochs=6"],
    "momentum": ["method=snfs"],
    "random": ["method=set"],
    "granet": ["method=granet", "method.initial_density=0.5"],
}


def masks(folder: Path) -> dict[str, torch.Tensor]:
    (ticket,) = folder.glob("level_*/ticket.safetensors")
    return Ticket.load(ticket).masks


@pytest.mark.slow
@pytest.mark.parametrize("way", engine_but(WAYS, "rigl"))
def test_two_ranks_end_with_the_masks_of_one_process_on_the_same_global_batches(way: str, tmp_path: Path):
    """Weights and masks of both ranks are compared with each other at the level's end, by the loop itself."""
    overrides = [*WAYS[way], "sparsity.density=0.2", "method.every=2", "recipe.precision=64-true"]
    assert train_on_ranks(tmp_path / "two", overrides) == [0, 0]
    train(tmp_path / "one", *overrides)
    train(tmp_path / "still", "method=erk", "sparsity.density=0.2", "recipe.precision=64-true")
    two, one, still = (masks(tmp_path / folder) for folder in ("two", "one", "still"))
    assert all(torch.equal(two[name], mask) for name, mask in one.items())
    assert not all(torch.equal(still[name], mask) for name, mask in one.items())
