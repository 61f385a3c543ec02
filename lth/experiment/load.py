"""Opens a finished level without training: its network with the final weights, and its data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lth.datamodules.dataset import Dataset
from lth.networks.from_config import build, image_shape
from lth.pruning.masks import Masks
from lth.storage.checkpoint import copy_state_, final_weights, load_checkpoint
from lth.storage.folder import LEVEL, RunFolder


@dataclass(frozen=True)
class LoadedLevel:
    """A finished level with its network and masks as they were tested.

    folder: the level's folder
    config: the run's resolved configuration
    row: the level's row of results.csv
    net: network with the trained weights (averaged, if the recipe averages), pruned ones zero, in evaluation mode
    masks: masks with which the level ended
    """

    folder: Path
    config: Mapping[str, Any]
    row: Mapping[str, Any]
    net: nn.Module
    masks: Masks

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        return image_shape(self.config["model"], self.config["dataset"])

    @property
    def title(self) -> str:
        """Method, model, dataset and level, in words."""
        choices = self.config["choices"]
        return "{method} of {model} on {dataset}".format(**choices) + f", level {self.row['level']}"


def load_level(path: Path, level: int | None = None) -> LoadedLevel:
    """Open a finished level.

    path: the folder of a level, or of a run
    level: index of one of the run's levels; None = the last finished one

    Raises FileNotFoundError or ValueError if there is no such level, and for a level whose network is not the run's.
    """
    folder = _level(path, level)
    if not (folder / "finished").is_file():
        raise ValueError(f"the level {folder} is not finished; run its command again to go on with it")
    config = _config(folder.parent)
    row = (RunFolder(folder.parent).finished(folder) or {})["row"]
    net, checkpoint = build(config["model"]), load_checkpoint(folder / "last.ckpt")
    masks = Masks.ones(net, config["prunable"]["include"], config["prunable"]["exclude"])
    masks.copy_(checkpoint["masks"])
    copy_state_(net, _evaluated_weights(checkpoint, net))
    masks.apply_(net)
    return LoadedLevel(folder, config, row, net.eval(), masks)


def data_of(config: Mapping[str, Any]) -> Dataset:
    """The run's data, read and split as the run did."""
    from hydra.utils import instantiate  # imported here: importing Hydra takes a second

    data: Dataset = instantiate(config["dataset"])
    data.prepare_data()
    data.setup("fit")
    return data


def _level(path: Path, level: int | None) -> Path:
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}")
    if LEVEL.match(path.name):
        return path
    levels = [level for level in RunFolder(path).levels if (level / "finished").is_file()]
    if not levels:
        raise ValueError(f"{path} holds no finished level: it is not a run's folder, or its first level is not done")
    if level is None:
        return levels[-1]
    found = [folder for folder in levels if int(folder.name.split("_")[1]) == level]
    if not found:
        raise ValueError(f"{path} has no finished level {level}; it has {[folder.name for folder in levels]}")
    return found[0]


def _config(run: Path) -> dict[str, Any]:
    if not (run / "config.yaml").is_file():
        raise FileNotFoundError(f"there is no config.yaml in {run} to say which network and data it used")
    config = RunFolder(run).configuration()
    if "model" not in config:
        raise ValueError(f"{run} was trained by a script (lth.levels), whose network lth cannot build")
    return config


def _evaluated_weights(checkpoint: Mapping[str, Any], net: nn.Module) -> dict[str, Tensor]:
    """`final_weights` of a level, with the recipe's exponential moving average of the parameters where there is one.

    net: the level's network, whose parameters the average follows in order
    """
    averages = [state["average"] for state in checkpoint["callbacks"].values() if "average" in state]
    trained = [name for name, parameter in net.named_parameters() if parameter.requires_grad]
    averaged = dict(zip(trained, *averages, strict=True)) if averages else {}
    return final_weights(checkpoint) | averaged
