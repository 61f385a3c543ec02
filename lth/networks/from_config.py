"""Networks built from their configuration: for a run, and for a ticket whose header or companion file describes one."""

from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from lth.pruning.seeds import derive

_OURS = "lth.networks."


def described(header: Mapping[str, Any], file: Path | None = None) -> dict[str, Any] | None:
    """The network's configuration, or None where neither source has one.

    header: of a ticket; its entry `network` is used when there is no `file`
    file: a run's config.yaml, or a YAML file of one model

    Raises ValueError for a file without a network, and for a ticket that names a function outside `lth.networks`:
    a ticket is data and must not decide which code runs.
    """
    if file is not None:
        return _from_file(file)
    network = header.get("network")
    if not isinstance(network, Mapping) or "_target_" not in network:
        return None
    for target in _targets(network):
        name = target.removeprefix(_OURS)
        if name == target or name.startswith("_") or "." in name:
            raise ValueError(
                f"the ticket names the network {target}, which is not lth's; --network FILE builds it if you trust it"
            )
    return dict(network)


def build(description: Mapping[str, Any], seed: int = 0, pretrained: bool = False) -> nn.Module:
    """The network with initial weights drawn from `seed`; seeds torch's global generator.

    description: `_target_`, the dotted path of a function or class, and its keyword arguments; a nested mapping with
        `_target_` is built first, and `_partial_: true` makes a function of it
    seed: of the initial weights
    pretrained: whether an option of that name holds; false sets it to false, so that nothing is downloaded or read

    Raises ValueError where there is no such function, or where it does not take these arguments.
    """
    options = dict(description)
    if "pretrained" in options and not pretrained:
        options["pretrained"] = False
    torch.manual_seed(derive("init", seed))
    net: nn.Module = _call(options)
    return net


def image_shape(description: Mapping[str, Any]) -> tuple[int, int, int]:
    """Channels, height and width of the images that a network or dataset with this configuration has.

    Raises ValueError where the configuration does not say.
    """
    try:
        size = description["image_size"]
        height, width = (size, size) if isinstance(size, int) else size
        return int(description["channels"]), int(height), int(width)
    except (KeyError, TypeError, ValueError):
        raise ValueError("the network's configuration has no channels and image_size") from None


def _call(description: Mapping[str, Any]) -> Any:
    target = str(description["_target_"])
    module, _, name = target.rpartition(".")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"there is no network {target}: {error}") from None
    options = {key: _built(value) for key, value in description.items() if not key.startswith("_")}
    if description.get("_partial_"):
        return partial(function, **options)
    try:
        return function(**options)
    except TypeError as error:
        raise ValueError(f"{target} cannot be built: {error}") from None


def _built(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _call(value) if "_target_" in value else {key: _built(inner) for key, inner in value.items()}
    return [_built(inner) for inner in value] if isinstance(value, list) else value


def _targets(value: Any) -> Iterator[str]:
    """Every `_target_` in a configuration, at any depth."""
    if isinstance(value, Mapping) and "_target_" in value:
        yield str(value["_target_"])
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for each in inner:
        yield from _targets(each)


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
