"""What `lth.levels` refuses: loops that do not train, ladders that rise, parts and settings of the wrong kind."""

from functools import partial
from pathlib import Path

import pytest
import torch

import lth
from lth.callbacks import Gradual, Regrow
from lth.experiment.levels import levels
from lth.plan import Budget
from tests.support.scripts import Dies, ladder

slow = pytest.mark.slow


def test_a_loop_that_does_not_train_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="level 0 was not trained to its end"):
        for _ in lth.levels([1.0, 0.5], tmp_path):
            pass


def test_rising_densities_and_an_empty_ladder_are_refused(tmp_path):
    with pytest.raises(ValueError, match="rise"):
        next(levels([0.2, 0.5], tmp_path))
    with pytest.raises(ValueError, match="at least one density"):
        next(levels([], tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_budget_of_a_script_is_unused_until_the_trainer_is_known(tmp_path):
    level = next(levels([1.0], tmp_path))
    assert level.level.budget == Budget(0, 0)
    assert level.checkpoint is None


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ({"criterion": "snip"}, r"criterion='snip' must be a function of \(network, masks, batches\)"),
        ({"criterion": lambda net, masks: {}}, r"and <lambda>\(net, masks\) is not: too many positional arguments"),
        ({"allocation": None}, r"allocation=None must be a function of \(scores, density\)"),
        ({"within": partial(Gradual, start=0.5)}, r"within=.* must be a list of functions from a level to a callback"),
        ({"within": ["rigl"]}, r"within\[0\]='rigl' must be a function of \(level\)"),
        ({"within": [Dies(1)]}, r"within\[0\] is a callback; it must be a function from a level to one, such as"),
        (
            {"within": [Gradual, partial(Regrow, evry=2)]},
            r"within\[1\] must be a function of \(level\), and Regrow\(level, update, .*'evry'",
        ),
        ({"within": [lambda: None]}, r"within\[0\] must be .*, and <lambda>\(\) is not: too many"),
        ({"within": [lambda level, rate: None]}, r"<lambda>\(level, rate\) is not: missing a required .*: 'rate'"),
    ],
)
def test_parts_of_a_level_that_cannot_be_called_are_refused_by_name(arguments, answer, tmp_path):
    level = next(levels([1.0], tmp_path))
    with pytest.raises(ValueError, match=answer) as error:
        level.callbacks(**arguments)
    assert "\n" not in str(error.value)


@slow
def test_a_part_of_a_level_that_makes_no_callback_is_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match="a function of within makes a int, which is no callback"):
        ladder(tmp_path, densities=[0.5], within=[lambda level: 3])
    assert not list(tmp_path.rglob("last.ckpt"))


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ({"settings": {"data": Path("x")}}, r"settings: data=PosixPath\('x'\) must be a number, text, or lists"),
        ({"settings": {"lr": torch.tensor(0.1)}}, r"settings: lr=tensor\(0.1000\) must be"),
        ({"seed": "a"}, "seed='a' must be a whole number"),
        ({"model": 3}, "model=3 must be text"),
    ],
)
def test_settings_that_cannot_be_stored_are_refused_before_a_folder_exists(arguments, answer, tmp_path):
    with pytest.raises(ValueError, match=answer):
        next(levels([1.0], tmp_path / "run", **arguments))
    assert not (tmp_path / "run").exists()
