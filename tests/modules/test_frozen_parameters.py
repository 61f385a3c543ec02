"""Parameters that a network freezes itself keep their values in every kind of module, also after a search."""

import pytest
import torch
from torch import nn

from lth import networks
from lth.experiment.build import Experiment
from lth.storage.checkpoint import final_weights, load_checkpoint
from lth.storage.folder import RunFolder
from tests.support.harness import configuration, train, usual

pytestmark = pytest.mark.slow


def half_frozen(**options) -> nn.Module:
    """A perceptron whose first layer is not trained."""
    net = networks.mlp(**options)
    next(module for module in net.modules() if isinstance(module, nn.Linear)).requires_grad_(False)
    return net


@pytest.mark.parametrize("method", ["dense", "imp", "rigl", "str", "surgery", "gem_miner", "edge_popup"])
def test_a_frozen_layer_keeps_its_weights(method, tmp_path):
    target = f"model._target_={__name__}.half_frozen"
    pruned = ["prunable.exclude=['@first']"] if method not in ("dense", "surgery") else []
    overrides = *usual(method, tmp_path), target, *pruned, "recipe.lr=0.1"
    initial = Experiment(configuration(tmp_path / "run", *overrides), RunFolder(tmp_path / "run")).initial
    train(tmp_path / "run", *overrides)
    ends = [final_weights(load_checkpoint(path)) for path in sorted((tmp_path / "run").glob("level_*/last.ckpt"))]
    first, *_, last = [name for name in initial if name.endswith("weight")]
    assert all(torch.equal(end[first], initial[first]) for end in ends)
    assert not torch.equal(ends[-1][last], initial[last])
