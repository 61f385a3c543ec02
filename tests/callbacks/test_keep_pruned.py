"""Masks in LightningModules that know nothing of lth: zeros stay zeros, and pruning without masking is refused."""

from functools import partial
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import StochasticWeightAveraging
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import lth
from lth.callbacks import KeepPruned, Prune, Rewind
from lth.callbacks.within.keep_pruned import masked_module
from lth.plan import Budget, Level
from tests.support.scripts import Foreign, TwoOptimizers, Zeros, points, trainer


class Averages(pl.Callback):
    """A user's moving average of all weights, by torch's own class."""

    def on_fit_start(self, trainer, pl_module):
        self.average = AveragedModel(pl_module, multi_avg_fn=get_ema_multi_avg_fn(0.9))

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.average.update_parameters(pl_module)


def half(net: nn.Module) -> lth.Masks:
    """Masks that prune every other weight."""
    masks = lth.Masks.ones(net)
    for mask in masks.values():
        mask.view(-1)[::2] = 0
    return masks


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)


CASES = {
    "SGD with momentum and decay": (Foreign, {}),
    "AdamW": (partial(Foreign, adamw), {}),
    "clipping": (Foreign, {"gradient_clip_val": 0.1}),
    "accumulation": (Foreign, {"accumulate_grad_batches": 3}),
    "bf16": (Foreign, {"precision": "bf16-mixed"}),
    "bf16 weights": (Foreign, {"precision": "bf16-true"}),
    "float64": (Foreign, {"precision": "64-true"}),
    "two optimizers by hand": (TwoOptimizers, {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_pruned_weights_are_zero_after_each_of_200_batches(case):
    torch.manual_seed(0)
    make, options = CASES[case]
    model = make()
    masks, before = half(model.body), model.head.weight.clone()
    frozen = {name: value.clone() for name, value in model.frozen.state_dict().items()}
    zeros = Zeros(masks)
    trainer([zeros, KeepPruned(masks)], max_epochs=50, **options).fit(model, points())
    assert zeros.seen == 200
    assert masks.kept < masks.total
    assert not torch.equal(model.head.weight.float(), before)
    assert all(torch.equal(value, frozen[name].to(value)) for name, value in model.frozen.state_dict().items())
    assert not any(p.requires_grad for p in model.frozen.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("average", [Averages, partial(StochasticWeightAveraging, 0.01, swa_epoch_start=1)])
def test_averages_of_the_weights_have_the_same_zeros(average):
    torch.manual_seed(0)
    model, mine = Foreign(), average()
    masks = half(model.body)
    trainer([mine, Zeros(masks), KeepPruned(masks)], max_epochs=4).fit(model, points())
    bodies = [model.body, *([mine.average.module.body] if isinstance(mine, Averages) else [])]
    for body in bodies:
        assert not any((w[masks[n] == 0] != 0).any() for n, w in body.named_parameters() if n in masks)


@pytest.mark.slow
def test_gradients_are_masked_before_they_are_clipped():
    """Lightning clips by the norm of the kept weights' gradients."""
    norms = []

    class Reads(pl.Callback):
        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            if gradients:
                norms.append(float(torch.stack([g.norm() for g in gradients]).norm()))

    model = Foreign()
    trainer([Reads(), KeepPruned(half(model.body))], gradient_clip_val=1e-3).fit(model, points())
    assert norms == pytest.approx([1e-3] * len(norms), rel=1e-2)


@pytest.mark.slow
def test_a_callback_that_writes_pruned_weights_is_an_error():
    class Writes(pl.Callback):
        def on_train_end(self, trainer, pl_module):
            nn.init.ones_(pl_module.body[0].weight)

    model = Foreign()
    with pytest.raises(RuntimeError, match=r"body\.0\.weight.*are not zero"):
        trainer([Writes(), KeepPruned(half(model.body))], max_epochs=1).fit(model, points())


@pytest.mark.slow
@pytest.mark.parametrize(
    "callback", [partial(Prune, criterion=lth.criteria.magnitude, allocation=lth.allocation.global_)]
)
def test_pruning_a_module_that_nothing_masks_is_refused(callback, tmp_path):
    level = Level(0, "dense", 0.5, "train", tmp_path, 0, 12, Budget(12, 4))
    with pytest.raises(ValueError, match=r"Foreign does not apply masks.*KeepPruned"):
        trainer([callback(level)]).fit(Foreign(), points())


def test_a_module_with_masks_of_its_own_that_nothing_applies_is_refused(tmp_path):
    module = SimpleNamespace(net=nn.Linear(2, 2), masks=lth.Masks.ones(nn.Linear(2, 2)))
    level = Level(0, "dense", 1.0, "train", tmp_path, 0, 12, Budget(12, 4))
    with pytest.raises(ValueError, match="does not apply masks"):
        masked_module(SimpleNamespace(callbacks=[Rewind(level, 0)]), module)


def placed(module: pl.LightningModule, keep: KeepPruned) -> str:
    """The prefix that makes the masks' names parameter names of `module`."""
    keep.setup(pl.Trainer(accelerator="cpu", logger=False, callbacks=[keep]), module, "fit")
    return keep._prefix


def test_masks_are_found_by_the_names_and_shapes_of_a_submodule():
    model = Foreign()
    assert placed(model, KeepPruned(lth.Masks.ones(model))) == ""
    assert placed(model, KeepPruned(lth.Masks.ones(model.body))) == "body."
    assert placed(model, KeepPruned(lth.Masks.ones(model.head), net=model.head)) == "head."


def test_masks_that_fit_no_module_or_several_are_refused():
    model = Foreign()
    with pytest.raises(ValueError, match="do not fit Foreign"):
        placed(model, KeepPruned(lth.Masks.ones(nn.Linear(3, 5))))
    model.twin = nn.Linear(16, 2)
    with pytest.raises(ValueError, match=r"fit several modules of Foreign, \['head.', 'twin.'\]"):
        placed(model, KeepPruned(lth.Masks.ones(model.head)))
    with pytest.raises(ValueError, match="is no part of"):
        placed(model, KeepPruned(lth.Masks.ones(model.head), net=nn.Linear(16, 2)))


def test_two_of_them_are_refused():
    model = Foreign()
    keep = KeepPruned(lth.Masks.ones(model.body))
    both = pl.Trainer(accelerator="cpu", logger=False, callbacks=[keep, KeepPruned(lth.Masks.ones(model.head))])
    with pytest.raises(ValueError, match="one KeepPruned"):
        keep.setup(both, model, "fit")
