"""Networks built from their configuration: for a run, and for a ticket whose header or companion file describes one."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from lth.pruning.seeds import derive

_OURS = "lth.networks."
_NAME = re.compile(r"[\w.-]{1,80}")  # of a library's network, or of a choice such as an initialisation
# Arguments of timm's and torchvision's builders that a ticket may give: numbers that change shapes and dropout.
_ALLOWED_OPTIONS = {
    *("img_size", "image_size", "patch_size", "embed_dim", "depth", "depths", "num_heads", "mlp_ratio", "window_size"),
    *("in_chans", "num_classes", "global_pool", "class_token", "qkv_bias", "width_mult", "output_stride"),
    *("drop_rate", "drop_path_rate", "attn_drop_rate", "proj_drop_rate", "pos_drop_rate", "patch_drop_rate"),
    *("dropout", "attention_dropout", "stochastic_depth_prob", "aux_logits", "transform_input", "init_weights"),
}


def described(header: Mapping[str, Any], file: Path | None = None) -> dict[str, Any] | None:
    """The network's configuration, or None if the header has none and there is no file.

    header: a ticket's header; its entry `network` is used if `file` is None
    file: a run's config.yaml, or a YAML file of one model

    Raises ValueError for a file without a network, and for a ticket that names a function outside `lth.networks` or
    gives options other than numbers and names: a ticket is data and must not decide which code runs, nor which files or
    addresses are opened.
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
                f"the ticket names the network {target}, which is not lth's; if you trust it, build it with "
                "--network FILE, the config.yaml of a run"
            )
    unknown = _unknown_options({key: value for key, value in network.items() if key not in ("_target_", "pretrained")})
    if unknown:
        raise ValueError(
            f"the ticket gives the network {network['_target_']} the options {unknown}, which may open other files or "
            "connections; if you trust it, build it with --network FILE, the config.yaml of a run"
        )
    return dict(network)


def _unknown_options(options: Mapping[str, Any]) -> list[str]:
    """Names of the options that are not numbers, names or lists of them, or that a library may take for an address."""
    named = {key: value for key, value in options.items() if key != "options"}
    for_library = options.get("options") or {}
    if not isinstance(for_library, Mapping):
        return ["options"]
    named |= {f"options.{key}": value for key, value in for_library.items()}
    return [
        key
        for key, value in named.items()
        if not _is_plain(value) or (key.startswith("options.") and key.removeprefix("options.") not in _ALLOWED_OPTIONS)
    ]


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return _NAME.fullmatch(value) is not None
    if isinstance(value, list):
        return all(isinstance(inner, int | float) for inner in value)
    return value is None or isinstance(value, int | float)


def build(description: Mapping[str, Any], seed: int = 0, pretrained: bool = False) -> nn.Module:
    """The network with initial weights drawn from `seed`; seeds torch's global generator.

    description: `_target_`, the dotted path of a function or class, and its keyword arguments; a nested mapping with
        `_target_` is built first, and `_partial_: true` makes a function of it
    seed: seed of the initial weights
    pretrained: False sets the network's option of that name to false, so that nothing is downloaded or read

    Raises ValueError where there is no such function, or where it does not take these arguments.
    """
    options = dict(description)
    if "pretrained" in options and not pretrained:
        options["pretrained"] = False
    torch.manual_seed(derive("init", seed))
    net: nn.Module = _call(options)
    return net


def image_shape(*descriptions: Mapping[str, Any]) -> tuple[int, int, int]:
    """Channels, height and width of the images that a network or dataset with these configurations has.

    descriptions: configurations; the first with the keys channels and image_size is used

    Raises ValueError if none has both keys.
    """
    for description in descriptions:
        with suppress(KeyError, TypeError, ValueError):
            size = description["image_size"]
            height, width = (size, size) if isinstance(size, int) else size
            return int(description["channels"]), int(height), int(width)
    names = " and of ".join(str(description.get("_target_")) for description in descriptions)
    raise ValueError(f"the configuration of {names} lacks the keys channels and image_size")


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
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        content = None
    for keys in (("config", "model"), ("model",), ()):
        node = content
        for key in keys:
            node = node.get(key) if isinstance(node, Mapping) else None
        if isinstance(node, Mapping) and "_target_" in node:
            open_ = [key for key, value in node.items() if isinstance(value, str) and "${" in value]
            if open_:
                raise ValueError(f"{file} takes {', '.join(open_)} from other files; give the config.yaml of a run")
            return dict(node)
    raise ValueError(
        f"{file} describes no network: a run's config.yaml does, or a mapping with _target_ and its options"
    )
