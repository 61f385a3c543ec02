"""Synaptic-Flow (ganguli-lab; SynFlow, arXiv 2006.05467): weights with a float mask beside each, also of biases."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from lth.tickets.formats._assemble import assemble, masked, starting
from lth.tickets.ticket import Ticket

_log = logging.getLogger(__name__)
_VGG = re.compile(r"layers\.(\d+)\.(conv|bn)\.(\w+)")
_BLOCK = re.compile(r"blocks\.(\d+)\.(conv\d|bn\d|shortcut\.\d)\.(\w+)")
_STAGE = re.compile(r"conv(\d)_x\.(\d+)\.(residual_function|shortcut)\.(\d)\.(\w+)")
_SCALE = re.compile(r"(.*\.shortcut)\.weight")  # of a shortcut that is the identity
_IN_BLOCK = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"}  # of residual_function
_SHORTCUT = {"0": "shortcut.conv", "1": "shortcut.bn"}


def read(source: Path, weights: Path | None = None, prefix: str | None = None) -> Ticket:
    """Masks of `<layer>.weight_mask` beside `<layer>.weight`, under the names of lth where lth has the network.

    weights: file of the starting weights, whose masks are ignored; without it the ticket starts from those beside the
        masks
    prefix: prefix of the network's names in the file

    The program's ResNets and its VGG with batch norm (whose last pooling averages, where lth's takes the maximum) get
    the names of `lth.networks`; other networks keep their own. Biases before batch norm, which lth's VGG does not have,
    are subtracted from the running mean. Factors on identity shortcuts are left out; trained ones are logged and listed
    in the header.
    Raises ValueError where anything but conv and linear weights is pruned.
    """
    content, masks = masked(source, prefix)
    state, scales = _without_scales(starting(weights, content, prefix))
    if cut := [name for name in masks if name in scales and not bool(masks[name].all())]:
        raise ValueError(f"{source}: these identity shortcuts are pruned, but have no factors in lth's networks: {cut}")
    trained = [name for name, scale in scales.items() if bool((scale != 1).any())]
    if trained:
        _log.warning("factors on identity shortcuts, which lth's networks lack, are left out: %s", trained)
    kept = {name: mask for name, mask in masks.items() if name not in scales}
    new = _names_of_lth(state)
    if new is not None:
        state, kept = _without_biases(state, kept, new)
        state, kept = ({new[name]: value for name, value in tensors.items()} for tensors in (state, kept))
    return assemble("synflow", kept, state, source, trained=content.trained or None, left_out=trained or None)


def _without_scales(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The state without the factors on identity shortcuts, and those factors."""
    scales = {name: value for name, value in state.items() if _SCALE.fullmatch(name)}
    return {name: value for name, value in state.items() if name not in scales}, scales


def _without_biases(
    state: Mapping[str, Tensor], masks: Mapping[str, Tensor], new: Mapping[str, str]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and masks without biases before batch norm: subtracted from its running mean, they act the same."""
    biases = {name: name.replace(".conv.bias", ".bn.running_mean") for name in state if name.endswith(".conv.bias")}
    moved = {mean: state[mean] - state[bias] * masks.get(bias, torch.ones(())) for bias, mean in biases.items()}
    return {n: moved.get(n, v) for n, v in state.items() if n in new}, {n: m for n, m in masks.items() if n in new}


def _names_of_lth(state: Mapping[str, Tensor]) -> dict[str, str] | None:
    """Name in `state` -> name in lth's network, without biases of convolutions; None if lth has no such network."""
    names = [name for name in state if not name.endswith(".conv.bias")]
    for rename in (_of_vgg(names), _of_cifar_resnet(names), _of_stages, _of_torchvision):
        new = {name: rename(name) for name in names}
        if all(new.values()) and len(set(new.values())) == len(new):
            return {name: renamed for name, renamed in new.items() if renamed}
    return None


def _of_vgg(names: Iterable[str]) -> Callable[[str], str | None]:
    """Names of its VGG: `layers` counts pooling too, so that a gap in the numbers is the end of a stage."""
    numbers = sorted({int(match[1]) for name in names if (match := _VGG.fullmatch(name))})
    firsts = [number for number in numbers if number - 1 not in numbers]

    def rename(name: str) -> str | None:
        match = _VGG.fullmatch(name)
        if match is None:
            return _ends(name, {})
        stage = sum(first <= int(match[1]) for first in firsts)
        return f"stage{stage}.{int(match[1]) - firsts[stage - 1]}.{match[2]}.{match[3]}"

    return rename


def _of_cifar_resnet(names: Iterable[str]) -> Callable[[str], str | None]:
    """Names of its ResNets for CIFAR: all blocks in one list, in which a shortcut with weights begins a stage."""
    blocks = [match for name in names if (match := _BLOCK.fullmatch(name))]
    firsts = [0, *sorted({int(match[1]) for match in blocks if match[2] == "shortcut.0"})]

    def rename(name: str) -> str | None:
        match = _BLOCK.fullmatch(name)
        if match is None:
            return _ends(name, {"conv": "conv1", "bn": "bn1"})
        stage = sum(first <= int(match[1]) for first in firsts)
        layer = _SHORTCUT.get(match[2].removeprefix("shortcut."), match[2])
        return f"layer{stage}.{int(match[1]) - firsts[stage - 1]}.{layer}.{match[3]}"

    return rename


def _of_stages(name: str) -> str | None:
    """Names of its ResNets for Tiny-ImageNet and CIFAR, `conv2_x` to `conv5_x`."""
    match = _STAGE.fullmatch(name)
    if match is None:
        return _ends(name, {"conv1.0": "conv1", "conv1.1": "bn1"})
    layer = (_SHORTCUT if match[3] == "shortcut" else _IN_BLOCK)[match[4]]
    return f"layer{int(match[1]) - 1}.{match[2]}.{layer}.{match[5]}"


def _of_torchvision(name: str) -> str | None:
    """Names of its ResNets for ImageNet, which are torchvision's."""
    if name.startswith("layer"):
        return re.sub(r"downsample\.(\d)", lambda match: _SHORTCUT[match[1]], name)
    return _ends(name, {"conv1": "conv1", "bn1": "bn1"})


def _ends(name: str, stem: Mapping[str, str]) -> str | None:
    """lth's name of a tensor of the stem or the classifier; None for other tensors.

    stem: module of the stem in the file -> its name in lth
    """
    module, _, tensor = name.rpartition(".")
    module = {**stem, "fc": "classifier"}.get(module, "")
    return f"{module}.{tensor}" if module else None
