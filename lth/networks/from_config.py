"""The network a ticket belongs to, built from what its header or a file of the user's says."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from lth.pruning.seeds import derive

OURS = "lth.networks."


def described(header: Mapping[str, Any], file: Path | None = None) -> dict[str, Any] | None:
    """The network's configuration: from `file` (a run's config.yaml, or a model's own), else as the ticket names it.

    Raises ValueError for a file without one, and for a ticket that names a function outside lth.networks: a ticket
    must never decide what code runs.
    """
    if file is not None:
        return _from_file(file)
    network = header.get("network")
    if not isinstance(network, Mapping) or "_target_" not in network:
        return None
    target = str(network["_target_"])
    if not target.startswith(OURS) or target.removeprefix(OURS).startswith("_") or "." in target.removeprefix(OURS):
        raise ValueError(
            f"the ticket names the network {target}, which is not lth's; --network FILE builds it if you trust it"
        )
    return dict(network)


def build(description: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """The network with initial weights drawn from `seed`, as a run draws them. Nothing is downloaded."""
    options = {key: value for key, value in description.items() if not key.startswith("_")}
    if "pretrained" in options:
        options["pretrained"] = False  # the ticket's own weights replace them
    module, _, name = str(description["_target_"]).rpartition(".")
    try:
        make = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"there is no network {description['_target_']}: {error}") from None
    torch.manual_seed(derive("init", seed))
    try:
        return make(**options)
    except TypeError as error:
        raise ValueError(f"{description['_target_']} cannot be built: {error}") from None


def image_shape(description: Mapping[str, Any]) -> tuple[int, int, int]:
    """Channels, height and width of the images it reads. Raises ValueError where the configuration does not say."""
    try:
        size = description["image_size"]
        height, width = (size, size) if isinstance(size, int) else size
        return int(description["channels"]), int(height), int(width)
    except (KeyError, TypeError, ValueError):
        raise ValueError("the network's configuration has no channels and image_size") from None


def _from_file(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(f"no file at {file}")
    try:
        content = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError):
        content = None
    for keys in (("config", "model"), ("model",), ()):
        node = content
        for key in keys:
            node = node.get(key) if isinstance(node, Mapping) else None
        if isinstance(node, Mapping) and "_target_" in node:
            return dict(node)
    raise ValueError(
        f"{file} describes no network: a run's config.yaml does, or a mapping with _target_ and its options"
    )
