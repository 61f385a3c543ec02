"""Parts of a configuration that cannot be built are refused by the key or the file that is wrong."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lth.experiment._checks import check_dataset
from lth.experiment.build import _callback
from lth.plan import Budget, Level


@pytest.mark.parametrize(
    ("part", "answer"),
    [
        ({"every": 3}, r"some.key has no _target_: it must name a callback, with _partial_: true"),
        ({"_target_": "lth.callbacks.EMA", "_partial_": True}, r"some.key cannot be built for a level .*'level'"),
        (
            {"_target_": "pytorch_lightning.Callback"},
            r"some.key cannot be built for a level \(has it _par",
        ),
        ({"_target_": "builtins.dict", "_partial_": True}, "some.key makes a dict, which is no callback"),
    ],
)
def test_a_part_of_a_method_that_makes_no_callback_is_refused_by_its_key(part, answer):
    with pytest.raises(ValueError, match=answer):
        _callback("some.key", OmegaConf.create(part), Level(0, "dense", 1.0, "train", Path(), 0, 0, Budget(1, 1)))


def test_a_dataset_without_the_keys_of_its_base_is_refused_with_the_base():
    config = {"_target_": "mine.Data", "classes": 2, "channels": 1, "image_size": 8, "seed": 0}
    with pytest.raises(ValueError, match=r"\(mine.Data\) has no key batch_size, augment: .*`defaults: \[_arrays\]`"):
        check_dataset(config)
    check_dataset({**config, "batch_size": 3, "augment": {}})
