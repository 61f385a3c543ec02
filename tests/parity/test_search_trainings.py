"""Whole searches of masks among frozen weights: twenty steps by lth and by the papers' algorithms written out.

Edge-popup (arXiv 1911.13299), Gem-Miner and hypercube optimisation (arXiv 2202.12002), global edge-popup of the same
paper's ablation.
"""

import math

import pytest
import torch
from torch import Tensor

from tests.parity.plain import PlainMLP, equal, keep_largest, logits, sgd
from tests.parity.test_score_search import edge_popup, freeze

LR = 0.1
PLAIN = "model.batch_norm=false", "model.bias=true", "model.init=kaiming_normal"  # the network of PlainMLP
SEARCH = ["recipe.epochs=5", f"recipe.lr={LR}", "recipe.precision=64-true", "method.finetune=false", *PLAIN]


def searched(folder, *overrides: str):
    """A search by lth: its module before training as a reference that is not trained, and its end and batches."""
    from tests.parity.training import Start
    from tests.support.searching import fit, prepared

    built, module, boundary = prepared(folder, *SEARCH, *overrides)
    module.double()  # as Lightning will; scores are copied below
    drawn = zip(module.score_state.names, module.scores, strict=True)
    start, scores = Start(), {name: score.detach().clone() for name, score in drawn}
    values = {name: p.detach().clone() for name, p in built.net.named_parameters()}
    fit(built, module, *boundary, start)
    return module, start.batches, scores, values


def score_gradients(values, used, x, labels, signs) -> dict[str, Tensor]:
    """w dL/d(w m), times the sign of the score in edge-popup."""
    dense = PlainMLP(values, {}).gradients(x, labels, used)
    return {name: sign * values[name] * dense[name] for name, sign in signs.items()}


def cosine(epoch: int, epochs: int) -> float:
    return LR * ((1 + math.cos(math.pi * epoch / epochs)) / 2)


@pytest.mark.slow
def test_twenty_steps_of_edge_popup_are_the_papers(tmp_path):
    module, batches, scores, values = searched(tmp_path, "method=edge_popup", "sparsity.density=0.3")
    velocity: dict[str, Tensor] = {}
    assert len(batches) == 20
    for step, (x, labels) in enumerate(batches):
        used = values | {n: values[n] * mask for n, mask in edge_popup(scores, 0.3).items()}
        gradients = score_gradients(values, used, x, labels, {n: s.sign() for n, s in scores.items()})
        sgd(scores, gradients, velocity, cosine(step // 4, 5), 0.9, 5e-4)
    found = dict(zip(scores, (s.detach() for s in module.scores), strict=True))
    assert equal(found, scores)
    assert equal(module.current_masks(), {n: mask.bool() for n, mask in edge_popup(scores, 0.3).items()})


@pytest.mark.slow
@pytest.mark.parametrize("restore", [True, False])
def test_twenty_steps_of_gem_miner_are_algorithm_1(restore, tmp_path):
    options = "method=gem_miner", "sparsity.density=0.1", "method.period=2", "method.strength=1e-3"
    module, batches, scores, values = searched(tmp_path, *options, f"method.restore={str(restore).lower()}")
    flags = {name: torch.ones_like(s, dtype=torch.bool) for name, s in scores.items()}
    velocity: dict[str, Tensor] = {}
    r = 1 - 0.1 ** (1 / 2)  # two events: after epochs 2 and 4 of 0..4
    for step, (x, labels) in enumerate(batches):
        scores = {name: s.clamp(0, 1) for name, s in scores.items()}
        used = values | {n: values[n] * (s > 0.5) * flags[n] for n, s in scores.items()}
        dense = score_gradients(values, used, x, labels, dict.fromkeys(scores, 1))
        gradients = {n: g * flags[n] + 1e-3 * 2 * scores[n] for n, g in dense.items()}
        sgd(scores, gradients, velocity, cosine(step // 4, 5), 0.9, 0.0)
        if step in (11, 19):
            scores = {name: s.clamp(0, 1) for name, s in scores.items()}
            flags = freeze(scores, flags, r)
    found = dict(zip(scores, (s.detach() for s in module.scores), strict=True))
    assert all(torch.allclose(found[name], scores[name], rtol=0, atol=1e-13) for name in scores)
    assert 0 < sum(int(f.sum()) for f in flags.values()) < 0.11 * module.masks.total
    ticket = flags if restore else {name: f & (scores[name] > 0.5) for name, f in flags.items()}
    assert equal(module.final_masks(), ticket)


@pytest.mark.slow
def test_twenty_steps_of_iterative_global_edge_popup_lower_one_density_for_the_network(tmp_path):
    options = "method=global_edge_popup_iterative", "sparsity.density=0.1", "method.period=1", "method.strength=0"
    module, batches, scores, values = searched(tmp_path, *options, "method.search.weight_decay=5e-4")
    velocity: dict[str, Tensor] = {}
    total = sum(s.numel() for s in scores.values())
    for step, (x, labels) in enumerate(batches):
        # four events, after epochs 1 to 4 of 0 to 4; the density of the first holds until the second
        density = 0.1 ** (max(1, step // 4 - 1) / 4)
        masks = keep_largest({n: s.abs() for n, s in scores.items()}, total - int((1 - density) * total))
        used = values | {n: values[n] * mask for n, mask in masks.items()}
        gradients = score_gradients(values, used, x, labels, {n: s.sign() for n, s in scores.items()})
        sgd(scores, gradients, velocity, cosine(step // 4, 5), 0.9, 5e-4)
    found = dict(zip(scores, (s.detach() for s in module.scores), strict=True))
    assert all(torch.allclose(found[name], scores[name], rtol=0, atol=1e-13) for name in scores)
    sizes = {n: s.abs() for n, s in scores.items()}
    assert equal(module.final_masks(), keep_largest(sizes, total - int((1 - 0.1) * total)))


@pytest.mark.slow
def test_twenty_steps_of_hypercube_optimisation_multiply_weights_by_scores(tmp_path):
    options = "method=hypercube", "method.strength=0"
    module, batches, scores, values = searched(tmp_path, *options)
    velocity: dict[str, Tensor] = {}
    decay = module.recipe.weight_decay
    for step, (x, labels) in enumerate(batches):
        used = values | {n: values[n] * s for n, s in scores.items()}
        gradients = score_gradients(values, used, x, labels, dict.fromkeys(scores, 1))
        sgd(scores, gradients, velocity, cosine(step // 4, 5), 0.9, decay)
        scores = {name: s.clamp(0, 1) for name, s in scores.items()}
    found = dict(zip(scores, (s.detach() for s in module.scores), strict=True))
    assert all(torch.allclose(found[name], scores[name], rtol=0, atol=1e-13) for name in scores)
    assert equal(module.final_masks(), {name: s > 0.5 for name, s in scores.items()})


@pytest.mark.slow
def test_fine_tuning_starts_from_the_untrained_weights_under_the_mask_that_was_found(tmp_path):
    from lth.experiment.build import Experiment
    from lth.storage.folder import RunFolder
    from tests.parity.training import after_level
    from tests.support.harness import configuration, train

    options = "method=gem_miner", "sparsity.density=0.2", "method.period=1", "recipe.precision=64-true", *PLAIN
    options += ("method.finetune_recipe.lr=0.01",)
    train(tmp_path / "ours", *options)
    built = Experiment(configuration(tmp_path / "data", *options), RunFolder(tmp_path / "data"))
    _, ticket = after_level(tmp_path / "ours", 0)
    net = PlainMLP({name: p.detach().double() for name, p in built.net.named_parameters()}, ticket)
    built.data.level = 1
    loader = built.data.train_dataloader()
    for epoch in range(3):
        loader.set_epoch(epoch)
        rate = 0.01 * 0.1 ** sum(epoch >= milestone * 3 for milestone in (0.5, 0.75))
        for x, labels in loader:
            net.step(net.masked(net.gradients(x, labels)), rate, 0.9, 1e-4, False)
    weights, masks = after_level(tmp_path / "ours", 1)
    assert equal({name: masks[name] for name in net.masks}, net.masks)
    assert equal(weights, net.used())


def test_the_reference_network_is_the_one_that_is_trained():
    from lth.networks import mlp

    net = mlp([7, 5], classes=3, channels=1, image_size=4)
    x = torch.randn(6, 1, 4, 4)
    assert torch.equal(logits(dict(net.named_parameters()), x), net(x))
