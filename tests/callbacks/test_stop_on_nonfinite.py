"""A loss that is not a number stops the level, and the message says what is left of it."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from lth.callbacks.watch.stop_on_nonfinite import StopOnNonFinite
from tests.support.harness import train


@pytest.mark.parametrize("loss", [math.nan, math.inf])
@pytest.mark.parametrize("saved", [True, False])
def test_the_message_names_the_last_checkpoint_only_where_there_is_one(loss: float, saved: bool, tmp_path: Path):
    level = SimpleNamespace(index=1, name="density_0.5", folder=tmp_path)
    if saved:
        (tmp_path / "last.ckpt").touch()
    module = SimpleNamespace(summary=lambda: {"train_loss": loss})
    with pytest.raises(FloatingPointError, match=r"level 1 \(density_0\.5\).*epoch 3.*recipe\.lr") as error:
        StopOnNonFinite(level).on_train_epoch_end(SimpleNamespace(current_epoch=3), module)
    assert (str(tmp_path / "last.ckpt") in str(error.value)) == saved
    assert ("nothing of this level was saved" in str(error.value)) != saved


def test_a_finite_loss_and_an_epoch_without_one_stop_nothing():
    for summary in ({"train_loss": 2.0}, {}):
        StopOnNonFinite(None).on_train_epoch_end(None, SimpleNamespace(summary=lambda found=summary: found))


@pytest.mark.slow
def test_a_run_that_diverges_says_so_in_error_txt(tmp_path: Path):
    with pytest.raises(FloatingPointError):
        train(tmp_path / "run", "recipe.lr=1e30", "recipe/schedule=constant")
    (first, *_) = (tmp_path / "run" / "error.txt").read_text().splitlines()
    assert first.startswith("FloatingPointError: the training loss of level 0")
    assert "nothing of this level was saved" in first
