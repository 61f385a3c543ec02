"""A finished level opened again, without training: its network with the weights it ended with, and its data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor, nn

from lth.datamodules.dataset import Dataset
from lth.networks.from_config import build, image_shape
from lth.pruning.masks import Masks
from lth.storage.checkpoint import copy_state_, load_checkpoint
from lth.storage.folder import LEVEL
from lth.tickets import Ticket


@dataclass(frozen=True)
class Finished:
    """A level's folder, the configuration of its run, its row of results.csv, and network and masks as they were
    tested: trained weights (averaged ones, where the recipe averages), zero where the masks prune."""

    folder: Path
    config: Mapping[str, Any]
    row: Mapping[str, Any]
    net: nn.Module
    masks: Masks

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        return image_shape(self.config["model"])

    @property
    def title(self) -> str:
        """Method, model, dataset and level, in words."""
        choices = self.config["choices"]
        return "{method} of {model} on {dataset}".format(**choices) + f", level {self.row['level']}"


def finished(path: Path, level: int | None = None) -> Finished:
    """A level's folder, or a run's and the number of one of its levels (default: the last finished one).

    Raises FileNotFoundError or ValueError where there is none, and for a level whose network is not the run's.
    """
    folder = _level(path, level)
    if not (folder / "finished").is_file():
        raise ValueError(f"the level {folder} is not finished; run its command again to go on with it")
    config = _config(folder.parent)
    row = json.loads((folder / "finished").read_text())["row"]
    net = build(config["model"])
    masks = Masks.ones(net, config["prunable"]["include"], config["prunable"]["exclude"])
    masks.copy_(Ticket.load(folder / "ticket.safetensors").masks)
    copy_state_(net, _weights(net, load_checkpoint(folder / "last.ckpt")))
    masks.apply_(net)
    return Finished(folder, config, row, net.eval(), masks)


def data_of(config: Mapping[str, Any]) -> Dataset:
    """The run's data, read and split as the run did."""
    from hydra.utils import instantiate  # imported here: Hydra is the command line's, and takes a second

    data: Dataset = instantiate(config["dataset"])
    data.prepare_data()
    data.setup("fit")
    return data


def _level(path: Path, level: int | None) -> Path:
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}")
    if LEVEL.match(path.name):
        return path
    levels = sorted(f.parent for f in path.glob("level_*/finished") if LEVEL.match(f.parent.name))
    if not levels:
        raise ValueError(f"{path} holds no finished level: it is not a run's folder, or the run has not come so far")
    if level is None:
        return levels[-1]
    found = [folder for folder in levels if int(folder.name.split("_")[1]) == level]
    if not found:
        raise ValueError(f"{path} has no finished level {level}; it has {[folder.name for folder in levels]}")
    return found[0]


def _config(run: Path) -> dict[str, Any]:
    try:
        return yaml.safe_load((run / "config.yaml").read_text())["config"]
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no config.yaml in {run}, which tells network and data") from None
    except (yaml.YAMLError, KeyError, TypeError):
        raise ValueError(f"{run / 'config.yaml'} was not written by lth") from None


def _weights(net: nn.Module, checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """What the level was tested with, masks apart: its network's state, or what a search found, or the averages."""
    state = {k.removeprefix("net."): v for k, v in checkpoint["state_dict"].items() if k.startswith("net.")}
    averages = [own["average"] for own in checkpoint["callbacks"].values() if "average" in own]
    averaged = dict(zip((name for name, _ in net.named_parameters()), *averages, strict=True)) if averages else {}
    return state | dict(checkpoint["found"]) | averaged
