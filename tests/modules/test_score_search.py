"""What a search does to scores, weights and flags while it trains."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException

from lth.experiment.build import Experiment
from lth.modules.score_search import ScoreSearch
from lth.storage.folder import RunFolder
from tests.support.harness import configuration
from tests.support.searching import PLAIN, begun, fit, prepared, scores

SEARCHES = ["gem_miner", "edge_popup", "global_edge_popup", "global_edge_popup_iterative", "hypercube"]


@pytest.mark.slow
@pytest.mark.parametrize("method", SEARCHES)
def test_a_search_trains_scores_and_leaves_weights_bit_identical(method: str, tmp_path):
    built, module, boundary = begun(tmp_path, method, "model.batch_norm=true")
    before = scores(module)
    fit(built, module, *boundary)
    assert all(torch.equal(p, built.initial[name]) for name, p in built.net.named_parameters())
    assert all(p.grad is None for p in built.net.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(before, scores(module), strict=True))
    assert module.optimizers().optimizer.param_groups[0]["params"] == list(module.scores)
    assert sum(len(group["params"]) for group in module.optimizers().optimizer.param_groups) == len(module.scores)


class InTheBox(pl.Callback):
    """Notes the range of all scores before every forward and at every epoch's end."""

    def __init__(self):
        self.lows, self.highs = [], []

    def on_train_batch_start(self, trainer, pl_module, *_):
        self.lows.append(min(s.min().item() for s in pl_module.scores))
        self.highs.append(max(s.max().item() for s in pl_module.scores))

    def on_train_epoch_end(self, trainer, pl_module):
        self.on_train_batch_start(trainer, pl_module)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "boxed"), [("gem_miner", True), ("hypercube", True), ("edge_popup", False)])
def test_scores_that_round_stay_between_zero_and_one_however_hard_they_are_pulled(method: str, boxed: bool, tmp_path):
    built, module, boundary = begun(tmp_path, method, "recipe.lr=1000")
    box = InTheBox()
    fit(built, module, *boundary, box)
    assert len(box.lows) == 15
    inside = min(box.lows) >= 0 and max(box.highs) <= 1
    assert inside == boxed
    if boxed:
        assert min(box.lows) == 0  # the pull did reach the walls


@pytest.mark.slow
def test_with_no_task_loss_scores_shrink_by_the_formula(tmp_path):
    options = *PLAIN, "recipe.lr=0.1", "method.strength=0.5", "method.period=null", "method.freezing=null"
    built, module, boundary = begun(tmp_path, "gem_miner", *options)
    module.loss = lambda logits, labels: 0.0 * logits.sum()
    before = scores(module)
    fit(built, module, *boundary)
    for start, end in zip(before, scores(module), strict=True):
        assert torch.allclose(end, start * (1 - 2 * 0.1 * 0.5) ** 12, rtol=1e-5)


@pytest.mark.slow
def test_strength_may_be_given_times_the_number_of_scores(tmp_path):
    ends = []
    _, module, _ = begun(tmp_path, "gem_miner")
    n = sum(s.numel() for s in module.scores)
    for given in ("method.strength=1e-3", f"method.strength_times_n={1e-3 * n}"):
        built, module, boundary = begun(tmp_path, "gem_miner", "method.strength=null", given)
        ends.append(scores(fit(built, module, *boundary)))
    assert all(torch.allclose(a, b, rtol=1e-5) for a, b in zip(*ends, strict=True))
    with pytest.raises(ValueError, match="not both"):
        begun(tmp_path, "gem_miner", "method.strength_times_n=1")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["edge_popup", "global_edge_popup"])
def test_asking_for_more_than_the_support_has_is_refused(method: str, tmp_path):
    uneven = f"method={method}", "support=pyramid", "support.density=0.5"  # layers above and below one half
    prepared(tmp_path, *uneven, "sparsity.density=0.02")
    with pytest.raises(InstantiationException, match="must fall"):
        prepared(tmp_path, *uneven, "sparsity.density=0.6")
    if method == "edge_popup":
        with pytest.raises(ValueError, match="more weights than the support has"):
            prepared(tmp_path, *uneven, "sparsity.density=0.49")


class OneConv(torch.nn.Module):
    """A convolution 8 -> 16, 3 x 3, with bias, and nothing else to learn."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(8, 16, 3)

    def forward(self, x):
        return self.conv(x.expand(-1, 8, -1, -1)).mean((2, 3))[:, :4]


def one_conv(tmp_path, monkeypatch, *overrides: str) -> tuple[Experiment, ScoreSearch, list[Any]]:
    monkeypatch.setattr(Experiment, "_network", lambda self: OneConv())
    support = "support=uniform", "support.density=0.5", "sparsity=one_shot", "sparsity.density=0.2"
    return prepared(tmp_path, "method=er_edge_popup", *support, "method.biases=true", *overrides)


@pytest.mark.slow
def test_a_convolution_with_a_bias_keeps_exactly_233_of_its_1168_entries(tmp_path, monkeypatch):
    built, module, boundary = one_conv(tmp_path, monkeypatch)
    built.net.conv.bias.data.normal_()
    frozen = {name: p.detach().clone() for name, p in built.net.named_parameters()}
    fit(built, module, *boundary)
    used = module.effective()
    chosen = {name: (used[name] != 0) for name in frozen}
    assert sum(int(m.sum()) for m in chosen.values()) == 233
    assert not (chosen["conv.weight"] & (built.support["conv.weight"] == 0)).any()
    assert 0 < chosen["conv.bias"].sum() < 16
    assert all(torch.equal(p, frozen[name]) for name, p in built.net.named_parameters())
    module.finalize_()
    for name, p in built.net.named_parameters():
        assert torch.equal(p, torch.where(chosen[name], frozen[name], 0))


@pytest.mark.slow
def test_gradients_reach_every_score_in_the_support_and_every_bias(tmp_path, monkeypatch):
    built, module, _ = one_conv(tmp_path, monkeypatch)
    built.net.conv.bias.data.normal_()
    module.on_fit_start()
    module.train()
    module(torch.randn(4, 1, 8, 8)).square().sum().backward()
    of_weights, of_biases = (score.grad for score in module.scores)
    inside = built.support["conv.weight"].bool()
    assert torch.equal(of_weights[:4] != 0, inside[:4])  # four of the 16 outputs are read
    assert (of_biases[:4] != 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["method=gem_miner", "method.period=1", "method.biases=true", "model.bias=true"], "freezing=null"),
        (
            ["method=edge_popup", "method.biases=true", "model.bias=false"],
            "no prunable layer of this network has a bias",
        ),
        (["method=gem_miner", "method.period=1", "method.rounding=prob"], "used unrounded"),
        (["method=hypercube", "sparsity=one_shot", "method.rounding=up"], "not one of"),
        (["method=gem_miner", "method.period=1", "method.rounding_noise=0.1"], "used unrounded"),
        (["method=warm_gem_miner", "method.warm=1ep", "method.period=1", "method.drop_half=3"], "0 to 2, or null"),
        (["method=gem_miner", "method.shape=square"], "shape"),
        (["method=gem_miner", "recipe.epochs=1"], "no event"),
        (["method=hypercube", "sparsity=one_shot", "method/freezing=threshold"], "an event within recipe.epochs"),
        (["method=hypercube", "sparsity=one_shot", "method/freezing=threshold", "method.period=5"], "no event"),
        (["method=edge_popup", "method/freezing=threshold", "method.period=1"], "needs scores in"),
        (["method=gem_miner", "method/freezing=threshold", "method.period=1", "method.freezing.at=1"], "under 1"),
        (["method=gem_miner", "recipe.ema=0.9"], "ema"),
        (["method=edge_popup", "method.rule.scope=net"], "not one of"),
    ],
)
def test_searches_that_make_no_sense_are_refused_before_training(overrides: list[str], says: str, tmp_path):
    if "bias=false" in overrides[-1]:
        overrides = [*overrides, "model.batch_norm=true"]
    with pytest.raises((ValueError, InstantiationException), match=says):
        Experiment(configuration(tmp_path, *overrides, "sparsity.density=0.3"), RunFolder(tmp_path))
