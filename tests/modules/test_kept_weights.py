"""Pruned weights are really zero, and training under a mask is what a forward pass with `weight * mask` would give."""

import copy

import pytest
import pytorch_lightning as pl
import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from lth.experiment.build import Experiment
from lth.storage.folder import RunFolder
from tests.support.harness import configuration
from tests.support.tiers import engine_but

pytestmark = pytest.mark.slow

SGD = ["recipe.lr=0.05", "recipe.weight_decay=0.01", "recipe.optimizer.nesterov=true"]
ADAMW = ["recipe/optimizer=adamw", "recipe.lr=0.01", "recipe.weight_decay=0.1"]
FREE = ["recipe/schedule=schedule_free", "recipe.lr=0.01", "recipe.weight_decay=0.1"]
WAYS = {
    "sgd": SGD,
    "adamw": ADAMW,
    "adam": ["recipe/optimizer=adam", "recipe.lr=0.01", "recipe.weight_decay=0.01"],
    "clipping": [*SGD, "recipe.clip=0.1"],
    "accumulation": [*SGD, "recipe.accumulate=2"],
    "decay of prunable weights": [*ADAMW, "recipe.decay=prunable"],
}
AVERAGED = {
    "ema": [*SGD, "recipe.ema=0.9"],
    "bf16": [*SGD, "recipe.precision=bf16-mixed"],
    "mixup": [*SGD, "recipe.mixup=1.0"],
    "schedule-free sgd": ["recipe/optimizer=schedule_free_sgd", *FREE],
    "schedule-free adamw": ["recipe/optimizer=schedule_free_adamw", *FREE],
}


def run_level(folder, *overrides: str, watch: pl.Callback | None = None) -> Experiment:
    """One level pruned before any training, through the loop's own Trainer."""
    pruned = ["method=omp", "method.plan._target_=lth.plan.single", "sparsity.density=0.3", "prunable=no_head"]
    built = Experiment(configuration(folder, *pruned, *overrides), RunFolder(folder))
    level = built.levels[0]
    module, boundary = built.build_level(level)
    trainer = built.trainer(level, [*boundary, *([watch] if watch else [])], [])
    trainer.fit(module, datamodule=built.data)
    built.trainer = trainer
    return built


class ZeroWatch(pl.Callback):
    """Looks at every weight, gradient buffer and average after every step."""

    def __init__(self):
        self.steps = 0

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.steps += 1
        averages = [cb.average for cb in trainer.callbacks if hasattr(cb, "average")]
        named = dict(pl_module.net.named_parameters())
        order = [n for n, p in named.items() if p.requires_grad]
        for name, mask in pl_module.masks.items():
            pruned = mask == 0
            assert pruned.any()
            assert not named[name][pruned].any(), f"{name} revived at step {self.steps}"
            for key, value in trainer.optimizers[0].state[named[name]].items():
                if torch.is_tensor(value) and value.shape == mask.shape:
                    assert not value[pruned].any(), f"{key} of {name} at step {self.steps}"
            for average in averages:
                assert not average[order.index(name)][pruned].any()


@pytest.mark.parametrize("way", engine_but([*WAYS, *AVERAGED], "sgd", "adamw", "ema", "schedule-free sgd"))
def test_zeros_stay_zero_for_200_steps_in_weights_momentum_and_average(way, tmp_path):
    watch = ZeroWatch()
    steps = 100 if way == "accumulation" else 200  # two batches a step
    run_level(tmp_path, "recipe.epochs=null", f"recipe.steps={steps}", *{**WAYS, **AVERAGED}[way], watch=watch)
    assert watch.steps >= 200


@pytest.mark.parametrize("way", WAYS)
def test_training_equals_weight_times_mask_in_the_forward_pass(way, tmp_path):
    options = [*WAYS[way], "recipe.precision=64-true", "recipe.epochs=3"]
    built = run_level(tmp_path / "ours", *options)
    expected = reference(tmp_path / "reference", built, *options)
    for name, parameter in built.net.named_parameters():
        mask = built.masks.get(name, torch.ones_like(parameter))
        difference = (parameter - expected[name] * mask).abs().max()
        assert difference <= 1e-12, f"{name} differs by {difference}"


def reference(folder, trained: Experiment, *overrides: str) -> dict[str, torch.Tensor]:
    """The same level by hand: stored weights dense, the mask multiplied in at every forward pass."""
    built = Experiment(configuration(folder, *overrides), RunFolder(folder))
    net, recipe = copy.deepcopy(built.net).double(), built.recipes["train"]
    masks = {name: mask.double() for name, mask in trained.masks.items()}
    optimizer = recipe.build(net, set(masks))
    clock, step = trained.build_level(trained.levels[0])[0].clock, 0
    loader = built.data.train_dataloader()
    for epoch in range(3):
        loader.set_epoch(epoch)
        batches = list(loader)
        for index, (x, y) in enumerate(batches):
            effective = {n: p * masks[n] if n in masks else p for n, p in net.named_parameters()}
            logits = functional_call(net, effective, (x.double(),))
            (cross_entropy(logits, y, label_smoothing=recipe.label_smoothing) / recipe.accumulate).backward()
            if (index + 1) % recipe.accumulate and index + 1 < len(batches):
                continue
            if recipe.clip:
                clip_grad_norm_(net.parameters(), recipe.clip)
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * clock(step)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
    return {name: p.detach() for name, p in net.named_parameters()}


def test_without_masked_gradients_momentum_would_grow_at_pruned_positions(tmp_path, monkeypatch):
    """Masking the weights but not their gradients is a known error, which `ZeroWatch` must detect."""
    from lth.modules import KeptWeights

    monkeypatch.setattr(KeptWeights, "on_before_optimizer_step", lambda self, optimizer: None)
    with pytest.raises(AssertionError, match="momentum_buffer"):
        run_level(tmp_path, *SGD, watch=ZeroWatch())


def test_masks_follow_the_module_and_stay_out_of_its_state(tmp_path):
    built = Experiment(configuration(tmp_path), RunFolder(tmp_path))
    module, _ = built.build_level(built.levels[0])
    module.double()
    assert all(mask.dtype == torch.float64 for mask in module.masks.values())
    assert set(module.state_dict()) == {f"net.{name}" for name in built.net.state_dict()}
