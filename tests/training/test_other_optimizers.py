"""SAM, Muon, SOAP and Shampoo under a mask: pruned weights are zero at every point that is visited, and runs resume."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from lth.experiment.build import Experiment
from lth.modules import KeptWeights
from lth.pruning.masks import _per_weight
from lth.pruning.topology.memory import Memory
from lth.storage.checkpoint import load_checkpoint
from lth.storage.folder import RunFolder
from tests.modules.test_kept_weights import ZeroWatch, run_level
from tests.support.harness import configuration, train, train_apart
from tests.support.left import curves, state
from tests.support.tiers import engine_but

LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3]"
SAM = ["recipe/optimizer=sam", "recipe.lr=0.05", "recipe.weight_decay=0.01"]
ADAPTIVE = ["recipe/optimizer=sam", "recipe.optimizer.adaptive=true", "recipe.optimizer.rho=1", "recipe.lr=0.05"]
BY_ADAMW = ["recipe/optimizer=sam", "recipe/optimizer@recipe.optimizer.base_optimizer=adamw", "recipe.lr=0.01"]
MUON = ["recipe/optimizer=muon", "recipe.lr=0.01", "recipe.weight_decay=0.1"]
SOAP = ["recipe/optimizer=soap", "recipe.lr=0.01", "recipe.weight_decay=0.1"]
SHAMPOO = ["recipe/optimizer=shampoo", "recipe.lr=0.1", "recipe.weight_decay=0.01"]
OWN_STATE = {"sam": SAM, "adaptive": ADAPTIVE, "sam by adamw": BY_ADAMW, "muon": MUON}
ALL = {**OWN_STATE, "soap": SOAP, "shampoo": SHAMPOO}


class Visits(pl.Callback):
    """Sees that pruned weights are zero in every forward pass and after every step, and that others move."""

    def on_train_start(self, trainer, pl_module):
        self.passes, self.start = 0, [p.detach().clone() for p in pl_module.net.parameters()]
        pl_module.net.register_forward_pre_hook(lambda net, _: self.look(pl_module))

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.look(pl_module)

    def on_train_end(self, trainer, pl_module):
        assert all((p != start).any() for p, start in zip(pl_module.net.parameters(), self.start, strict=True))

    def look(self, module):
        self.passes += 1
        for mask, weight in zip(module.masks.values(), module.masks.weights(module.net), strict=True):
            assert torch.isfinite(weight).all()
            assert not weight[mask == 0].any()


@pytest.mark.slow
@pytest.mark.parametrize("way", ALL)
def test_pruned_weights_are_zero_at_every_point_that_is_visited(way, tmp_path):
    watch = Visits()
    run_level(tmp_path, "recipe.epochs=null", "recipe.steps=60", *ALL[way], "model.batch_norm=true", watch=watch)
    assert watch.passes > 120 + 60 * ("sam" in str(ALL[way]))


@pytest.mark.slow
@pytest.mark.parametrize("way", OWN_STATE)
def test_momentum_of_pruned_weights_is_zero_where_each_weight_has_its_own(way, tmp_path):
    watch = ZeroWatch()
    run_level(tmp_path, "recipe.epochs=null", "recipe.steps=60", *OWN_STATE[way], watch=watch)
    assert watch.steps == 60


def by_hand(folder: Path, trained: Experiment, *overrides: str, adaptive: bool = False) -> dict[str, torch.Tensor]:
    """Foret et al., algorithm 1, with momentum and weight decay, the mask multiplied in at every forward pass."""
    fresh = Experiment(configuration(folder, *overrides), RunFolder(folder))
    recipe, net = fresh.recipes["train"], fresh.net.double()
    masks = {name: mask.double() for name, mask in trained.masks.items()}
    w = {n: p.detach() * masks.get(n, 1) for n, p in net.named_parameters()}
    momentum = {n: torch.zeros_like(p) for n, p in w.items()}
    rho, clock, step = (1.0 if adaptive else 0.05), trained.build_level(trained.levels[0])[0].clock, 0
    loader = fresh.data.train_dataloader()

    def gradient(at, batch):
        point = {n: p.clone().requires_grad_() for n, p in at.items()}
        loss = cross_entropy(functional_call(net, point, (batch[0].double(),)), batch[1])
        found = torch.autograd.grad(loss, list(point.values()))
        return {n: g * masks.get(n, 1) for n, g in zip(point, found, strict=True)}

    for epoch in range(3):
        loader.set_epoch(epoch)
        for batch in loader:
            g = gradient(w, batch)
            size = {n: p.abs() if adaptive else torch.ones_like(p) for n, p in w.items()}
            norm = torch.cat([(size[n] * g[n]).flatten() for n in g]).norm()
            g = gradient({n: w[n] + rho * size[n] ** 2 * g[n] / norm for n in w}, batch)
            for n in w:
                momentum[n] = 0.9 * momentum[n] + g[n] + recipe.weight_decay * w[n]
                w[n] = w[n] - recipe.lr * clock(step) * momentum[n]
            step += 1
    return w


@pytest.mark.slow
@pytest.mark.parametrize("way", ["sam", "adaptive"])
def test_sam_is_the_papers(way, tmp_path):
    options = [*ALL[way], "recipe.precision=64-true"]
    built = run_level(tmp_path / "ours", *options)
    expected = by_hand(tmp_path / "reference", built, *options, adaptive=way == "adaptive")
    for name, weight in built.net.named_parameters():
        assert torch.allclose(weight, expected[name], atol=1e-6), name  # the library holds |g| in float32


@pytest.mark.slow
def test_metrics_and_running_statistics_know_the_first_pass_alone(tmp_path):
    """With a rate of 0 the weights stand still, and SAM's second passes must leave no trace."""
    runs = {}
    for name, options in {"sam": SAM, "sgd": ["recipe.weight_decay=0.01"]}.items():
        folder = tmp_path / name
        train(folder, "method=dense", "model.batch_norm=true", *options, "recipe.lr=0")
        saved = load_checkpoint(next(folder.glob("level_*")) / "last.ckpt")["state_dict"]
        runs[name] = curves(folder), {n: v for n, v in saved.items() if "running" in n or "tracked" in n}
    assert runs["sam"][0] == runs["sgd"][0]
    assert runs["sam"][1].keys() == runs["sgd"][1].keys() != set()
    assert all(torch.equal(value, runs["sgd"][1][name]) for name, value in runs["sam"][1].items())


@pytest.mark.slow
def test_growth_sees_the_gradient_at_the_weights_themselves(tmp_path, monkeypatch):
    seen, take = [], Memory.take

    def watched(self, gradients, until):
        seen.append(until)
        take(self, gradients, until)

    monkeypatch.setattr(Memory, "take", watched)
    train(tmp_path, "method=rigl", "method.every=8", "sparsity=one_shot", "sparsity.density=0.3", *SAM)
    assert len(seen) == 12  # once a step


@pytest.mark.slow
def test_muon_takes_the_matrices_and_adamw_the_rest(tmp_path):
    built = run_level(tmp_path, *MUON, "recipe.decay=prunable")
    (optimizer,) = built.trainer.optimizers
    for group in optimizer.param_groups:
        assert all((p.ndim >= 2) == group["use_muon"] for p in group["params"])
        assert group["weight_decay"] in (0, 0.1)
        for p in group["params"]:
            assert ("momentum_buffer" in optimizer.state[p]) == group["use_muon"]
    assert {len(g["params"]) for g in optimizer.param_groups if not g["use_muon"]} == {3}
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))]})
    optimizer.param_groups[-1]["params"][0].grad = torch.ones(2)
    optimizer.step()
    assert optimizer.param_groups[-1]["params"][0][0] < 1


def test_a_change_of_masks_leaves_second_moments_in_another_basis_alone():
    state = {n: torch.ones(3, 2) for n in ("exp_avg", "exp_avg_sq")}
    assert len(_per_weight(state, torch.Size((3, 2)))) == 2
    assert _per_weight({**state, "Q": [torch.eye(3), torch.eye(2)]}, torch.Size((3, 2)))[0] is state["exp_avg"]
    assert len(_per_weight({**state, "Q": [torch.eye(3), torch.eye(2)]}, torch.Size((3, 2)))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("method", engine_but(["imp", "rigl"], "imp"))
@pytest.mark.parametrize("way", engine_but(["sam", "muon", "soap", "shampoo"], "sam", "muon"))
def test_killed_and_restarted_equals_uninterrupted(way, method, tmp_path):
    sizes = LADDER if method == "imp" else ("method.every=2", "sparsity=one_shot", "sparsity.density=0.3")
    chosen = [f"method={method}", *sizes, *ALL[way], "model.batch_norm=true"]
    train(tmp_path / "whole", *chosen)
    for step in (6, 10):
        folder = tmp_path / f"killed{step}"
        assert train_apart(folder, chosen, ("step", step)) == -9
        train(folder, *chosen)
        assert state(folder) == state(tmp_path / "whole"), step


@pytest.mark.slow
@pytest.mark.parametrize("way", ["muon", "soap", "shampoo"])  # their groups count steps
def test_a_cycle_begins_with_a_fresh_optimizer(way, tmp_path):
    run = run_level(tmp_path, *ALL[way], "recipe.epochs=2", "recipe.cycles.n=2")
    assert {group["step"] for group in run.trainer.optimizers[0].param_groups} == {4}


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["recipe.accumulate=2", "recipe.precision=16-mixed"])
def test_what_sam_cannot_do_is_said_before_training(wrong, tmp_path):
    with pytest.raises(Exception, match=f"{wrong}: SAM"):
        Experiment(configuration(tmp_path, *SAM, wrong), RunFolder(tmp_path))


@pytest.mark.slow
def test_the_watch_would_see_what_a_dense_update_leaves(tmp_path, monkeypatch):
    from lth.modules.classifier import Classifier

    monkeypatch.setattr(KeptWeights, "optimizer_step", Classifier.optimizer_step)
    with pytest.raises(AssertionError):
        run_level(tmp_path, *MUON, watch=Visits())


@pytest.mark.slow
def test_learned_thresholds_train_with_the_rest_of_muon(tmp_path):
    train(tmp_path, "method=str", "method.start=-3", *MUON)
