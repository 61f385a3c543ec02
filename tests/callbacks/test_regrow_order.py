"""An update and the optimizer's step: which comes first, and what a gradient that is not finite does."""

from math import cos, pi

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from tests.support.moving import DOUBLE, OPTIMIZERS, RIGL, TWENTY, PlainGradients, expected, moves, run_level

pytestmark = pytest.mark.slow


class Weights(pl.Callback):
    """All parameters after every optimizer step, before updates, and the optimizer's state with them."""

    def __init__(self):
        self.after: dict[int, list[Tensor]] = {}

    def on_train_start(self, trainer, pl_module):
        self.on_train_batch_end(trainer, pl_module)

    def on_train_batch_end(self, trainer, pl_module, *_):
        state = [v for s in trainer.optimizers[0].state.values() for v in s.values() if torch.is_tensor(v)]
        self.after[trainer.global_step] = [t.detach().clone() for t in (*pl_module.parameters(), *state)]


@pytest.mark.parametrize("clip", [[], ["recipe.clip=0.5"]], ids=["", "clipped"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("order", ["replace_step", "after_step"])
def test_the_optimizer_steps_on_an_update_only_in_the_order_that_says_so(order, optimizer, clip, tmp_path, monkeypatch):
    changes, watch = moves(monkeypatch), Weights()
    how = [f"method.order={order}", "method.every=4", "method/fraction=constant", *OPTIMIZERS[optimizer], *clip]
    run_level(tmp_path, *RIGL, *TWENTY, *how, watch=(watch,))
    assert [change.step for change in changes] == [4, 8, 12, 16, 20]
    for change in changes:
        same = [torch.equal(a, b) for a, b in zip(watch.after[change.step - 1], watch.after[change.step], strict=True)]
        assert all(same) if order == "replace_step" else not any(same)
        assert not all(torch.equal(change.before.masks[n], m) for n, m in change.after.masks.items())


def test_a_replaced_step_still_grows_by_that_batchs_gradient(tmp_path, monkeypatch):
    changes, plain = moves(monkeypatch), PlainGradients()
    run_level(tmp_path, *RIGL, *TWENTY, *DOUBLE, "method.order=replace_step", "method.every=4", watch=(plain,))
    for change in changes:
        masks = expected(change, plain.by_step[change.step], 0.15 * (1 + cos(pi * change.step / 21)))
        assert all(torch.equal(masks[name], mask) for name, mask in change.after.masks.items())


class Inject(pl.Callback):
    """Puts one inf into the gradients of one step."""

    def __init__(self, step: int):
        self.step = step

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step + 1 == self.step:
            next(iter(pl_module.net.parameters())).grad.view(-1)[0] = torch.inf


@pytest.mark.parametrize("memory", ["last", "mean_of_last", "momentum"])
def test_an_inf_in_the_gradient_skips_its_update_and_no_other(memory, tmp_path, monkeypatch):
    """An update replaces the optimizer's step, so the inf reaches no weight, as if a loss scaler skipped the step."""
    changes = moves(monkeypatch)
    replaced = ["method.order=replace_step", "method.every=4", "method/fraction=constant", f"method/memory={memory}"]
    run_level(tmp_path, *RIGL, *TWENTY, *replaced, watch=(Inject(8),))
    skipped = [
        all(torch.equal(change.before.masks[n], mask) for n, mask in change.after.masks.items()) for change in changes
    ]
    assert [change.step for change in changes] == [4, 8, 12, 16, 20]
    assert skipped == [False, True, False, False, False]
