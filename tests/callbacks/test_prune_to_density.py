"""Pruning at the start of a level: what the callback hands to `prune`."""

import pytest

import lth
from lth.pruning.masks import fingerprint
from tests.support.harness import train


@pytest.mark.slow
def test_the_pruning_seed_reaches_the_placement(tmp_path):
    """Scores by magnitude do not depend on the pruning seed, so that only the placement can differ."""
    masks = []
    for number, seed in enumerate((0, 0, 1)):
        given = ("method=magnitude_at_init", "method/placement=shuffled", "sparsity.density=0.3", "recipe.epochs=1")
        train(tmp_path / str(number), *given, f"seeds.prune={seed}")
        (path,) = tmp_path.glob(f"{number}/level_*/ticket.safetensors")
        masks.append(fingerprint(lth.Ticket.load(path).masks))
    assert masks[0] == masks[1] != masks[2]
