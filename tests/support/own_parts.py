"""A small project of a user's: a package `mine` and its configurations, beside lth and not part of it."""

from pathlib import Path

_CODE = '''
"""A network, criterion, dataset, callback, schedule and treatment of the user's own."""

from pathlib import Path

import torch
from pytorch_lightning import Callback
from torch import nn

from lth.datamodules import Synthetic


def narrow(classes, channels, image_size, width):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * image_size**2, width), nn.ReLU(), nn.Linear(width, classes))


def largest(net, masks, batches):
    return {name: weight.detach().abs() for name, weight in net.named_parameters() if name in masks}


class Blurred(Synthetic):
    pass


class Note(Callback):
    def __init__(self, level):
        self.level = level

    def on_fit_start(self, trainer, pl_module):
        if trainer.is_global_zero:
            Path(self.level.folder).mkdir(parents=True, exist_ok=True)
            (Path(self.level.folder) / "note").write_text(f"rank 0 of {trainer.world_size}")


def half(step, total, epoch):
    return 0.5


def negate(masks, weights, draw=None, seed=0, scores=None):
    return masks, {name: -value if value.is_floating_point() else value for name, value in weights.items()}
'''
_CONFIGURATIONS = {
    "model/narrow": "_target_: mine.narrow\nclasses: ${dataset.classes}\nchannels: ${dataset.channels}\n"
    "image_size: ${dataset.image_size}\nwidth: 12\n",
    "method/criterion/largest": "_target_: mine.largest\n_partial_: true\n",
    "method/noted": "defaults: [imp, override criterion: largest, _self_]\n"
    "stages: {train: {callbacks: {note: {_target_: mine.Note, _partial_: true}}}}\n",
    "dataset/blurred": "defaults: [synthetic, _self_]\n_target_: mine.Blurred\n"
    "train_size: 120\ntest_size: 40\nval_size: 20\n",
    "recipe/schedule/half": "_target_: mine.half\n_partial_: true\n",
    "treatment/negate": "_target_: mine.negate\n_partial_: true\n",
    "experiment/mine/first": "# @package _global_\ndefaults:\n  - override /model: narrow\n"
    "  - override /dataset: blurred\n  - override /method: noted\n  - override /recipe/schedule: half\n"
    "recipe: {epochs: 2, batch_size: 20}\nsparsity: {density: 0.64}\nthreads: 1\n",
}
EXPERIMENT = "experiment=mine/first"
RUN = "--config-dir", "settings", EXPERIMENT  # what a command line needs in the folder


def write(folder: Path, configurations: str = "settings") -> None:
    """Write the package `mine` into `folder`, and its configurations into the folder `configurations` there."""
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "__init__.py").write_text(_CODE.lstrip())
    for name, text in _CONFIGURATIONS.items():
        path = folder / configurations / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
