from types import SimpleNamespace

import pytest
import torch

from lth.datamodules import Synthetic


@pytest.fixture
def made():
    """Returns a function that makes a small dataset of distinct images, after setup, from keys of its configuration."""

    def make(**keys):
        usual = {"classes": 5, "channels": 3, "image_size": 8, "scale": 255, "mean": 0.4, "std": [0.2, 0.3, 0.4]}
        data = Synthetic(**{**usual, "train_size": 70, "test_size": 21, "batch_size": 16, **keys})
        data.prepare_data()
        data.setup()
        return data

    return make


@pytest.fixture
def on_rank():
    """Returns a function that gives a dataset a fake trainer of one rank among several."""

    def attach(data, rank, world, epoch=0):
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(global_rank=rank, world_size=world, strategy=strategy, current_epoch=epoch)
        return data

    return attach


@pytest.fixture
def samples():
    """Returns a function that lists the samples of batches as (image bytes, label), sorted."""

    def seen(loader):
        return sorted((x.numpy().tobytes(), int(y)) for xs, ys in loader for x, y in zip(xs, ys, strict=True))

    return seen
