"""Callbacks that act after optimizer steps: each step once, with its number, before the next batch."""

import pytest
import pytorch_lightning as pl

from lth.callbacks._after_step import AfterStep
from tests.support.scripts import Foreign, TwoOptimizers, points, trainer


class Steps(AfterStep):
    """Records (batches so far, number of the step) at each call."""

    def __init__(self):
        self.batches, self.calls = 0, []

    def on_train_batch_start(self, *_):
        self.batches += 1

    def after_step(self, trainer, pl_module, step):
        self.calls.append((self.batches, step))


class Saves(pl.Callback):
    """Saves a checkpoint to `path` after batch `number`, counted from 1."""

    def __init__(self, number, path):
        self.number, self.path = number, path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, index):
        if index + 1 == self.number:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize(
    ("module", "accumulated", "expected"),
    [
        (Foreign, 1, [(n, n) for n in range(1, 9)]),
        (Foreign, 3, [(3, 1), (4, 2), (7, 3), (8, 4)]),  # the last batch of an epoch always makes a step
        (TwoOptimizers, 1, [(n, n) for n in range(1, 9)]),
    ],
)
def test_each_step_is_followed_by_one_call_with_its_number(module, accumulated, expected):
    steps = Steps()
    trainer([steps], max_epochs=2, accumulate_grad_batches=accumulated).fit(module(), points())
    assert steps.calls == expected


@pytest.mark.parametrize("module", [Foreign, TwoOptimizers])
@pytest.mark.parametrize("every", [2, 4])  # in the middle of an epoch and at its end
def test_the_numbers_go_on_where_a_checkpoint_was_written(module, every, tmp_path):
    trainer([Steps(), Saves(every, tmp_path / "state.ckpt")], max_epochs=1).fit(module(), points())
    steps = Steps()
    trainer([steps], max_epochs=2).fit(module(), points(), ckpt_path=tmp_path / "state.ckpt")
    assert [step for _, step in steps.calls] == list(range(every + 1, 9))


def test_a_callback_that_does_not_say_what_to_do_after_a_step_is_refused():
    with pytest.raises(TypeError, match="after_step"):
        type("Nothing", (AfterStep,), {})()
