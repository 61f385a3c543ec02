"""Searches that set their logits to scale after each epoch: factors, tickets, ranks."""

from math import prod
from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException
from torch.nn.functional import cross_entropy

from lth.callbacks import DrawWeights
from lth.experiment.build import Experiment
from lth.storage.folder import RunFolder
from lth.tickets import Ticket
from tests.experiment.test_ddp import compare
from tests.published.test_strong_tickets import SCALED, events
from tests.support.harness import configuration, train, train_on_ranks
from tests.support.left import curves, rows

pytestmark = pytest.mark.slow


def test_weights_are_scaled_after_each_epoch_and_the_rate_is_divided_until_the_levels_end(tmp_path: Path):
    options = *SCALED, "recipe/schedule@method.search.schedule=constant", "method.search.lr=0.1", "method.finetune=true"
    train(tmp_path, *options, "method/weights=kn_nonzero_bias")
    first, second = ([float(e["scale"]) for e in events(tmp_path) if e["level"] == level] for level in "01")
    assert [len(scales) for scales in (first, second)] == [3, 3]
    assert len({*first, *second, 1.0}) == 7
    for level, scales in (("0", first), ("1", second)):
        rates = [float(row["lr"]) for row in curves(tmp_path) if row["level"] == level]
        assert rates == pytest.approx([0.1, 0.1 / scales[0], 0.1 / scales[0] / scales[1]])
    built = Experiment(configuration(tmp_path, *options, "method/weights=kn_nonzero_bias"), RunFolder(tmp_path))
    *_, boundary = built.build_level(built.levels[0])
    (draw,) = [callback for callback in boundary if isinstance(callback, DrawWeights)]
    draw.rule(built.net, built.masks, draw.seed)
    start = {name: p.detach().clone() for name, p in built.net.named_parameters()}
    weights = [name for name in start if name.endswith("weight")]
    tickets = [Ticket.load(path) for path in sorted(tmp_path.glob("level_*/ticket.safetensors"))]
    for ticket, scale in zip(
        tickets, (prod(first), prod(first) * prod(second), prod(first) * prod(second)), strict=True
    ):
        for place, name in enumerate(weights, start=1):
            assert torch.allclose(ticket.weights[name], start[name] * scale ** (1 / 3), rtol=1e-5)
            bias = name.replace("weight", "bias")
            assert torch.allclose(ticket.weights[bias], start[bias] * scale ** (place / 3), rtol=1e-5)


def test_the_ticket_of_a_scaled_search_is_the_network_that_was_tested(tmp_path: Path):
    train(tmp_path, *SCALED)
    level = sorted(tmp_path.glob("level_*"))[-1]
    ticket = Ticket.load(level / "ticket.safetensors")
    built = Experiment(configuration(tmp_path, *SCALED), RunFolder(tmp_path))
    built.net.load_state_dict({n: w * ticket.masks.get(n, 1) for n, w in ticket.weights.items()})
    built.net.eval()
    built.data.setup("test")
    losses = [cross_entropy(built.net(x), y, reduction="sum").item() for x, y in built.data.test_dataloader()]
    assert sum(losses) / 40 == pytest.approx(float(rows(tmp_path)[-1]["test_loss"]), rel=1e-4)


def test_scaling_mixed_images_is_refused(tmp_path: Path):
    with pytest.raises((ValueError, InstantiationException), match=r"recipe\.mixup=0\.2 must be 0"):
        Experiment(configuration(tmp_path, *SCALED, "recipe.mixup=0.2"), RunFolder(tmp_path))


@pytest.mark.engine
def test_two_ranks_scale_as_one_process_does(tmp_path: Path):
    exact = *SCALED, "recipe.precision=64-true"
    assert train_on_ranks(tmp_path / "two", exact) == [0, 0]
    train(tmp_path / "one", *exact)
    compare(tmp_path / "two", tmp_path / "one", "scaled")
    scales = [[float(event["scale"]) for event in events(tmp_path / run)] for run in ("one", "two")]
    assert scales[0] == pytest.approx(scales[1], rel=1e-9)
