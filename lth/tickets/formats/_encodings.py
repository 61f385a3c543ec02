"""Masks inside a state dict: five ways in which libraries store them beside the weights."""

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

State = dict[str, Tensor]
_AO_MASK = re.compile(r"^(?P<module>.*?)parametrizations\.(?P<weight>\w+)\.\d+\.mask$")


def separate(state: Mapping[str, Tensor]) -> tuple[State, dict[str, State]]:
    """Weights under the plain network's names, and masks by the encoding they are stored in."""
    weights, found = dict(state), {}
    for name, encoding in _ENCODINGS.items():
        weights, masks = encoding(weights)
        if masks:
            found[name] = masks
    _check_complete(weights, found)
    return weights, found


def _check_complete(weights: State, found: Mapping[str, State]) -> None:
    """Raise ValueError for half of a pair: a layer whose mask a damaged file has lost would be read as not pruned.

    weights: tensors that belong to no encoding
    found: masks by encoding; networks may have own buffers whose names end in `mask`
    """
    halves = [n for n in weights if n.endswith(("weight_mask", "bias_mask"))]
    if "torch.nn.utils.prune" in found:  # spectral norm has weight_orig too, with weight_u
        halves += [n for n in weights if n.endswith("_orig") and f"{n.removesuffix('_orig')}_u" not in weights]
    if "turboprune" in found:
        halves += [n for n in weights if n.endswith(".mask")]
    halves += [n for n in weights if _AO_MASK.match(n)]
    if halves:
        raise ValueError(f"a layer is incomplete: the tensors that belong to {halves} are missing")


def _torch_prune(state: State) -> tuple[State, State]:
    """`<weight>_orig` and `<weight>_mask` in place of `<weight>` (torch.nn.utils.prune)."""
    names = [
        n.removesuffix("_mask") for n in state if n.endswith("_mask") and f"{n.removesuffix('_mask')}_orig" in state
    ]
    renamed = {f"{name}_orig": name for name in names}
    masks = {name: state[f"{name}_mask"] for name in names}
    return {renamed.get(n, n): v for n, v in state.items() if n.removesuffix("_mask") not in masks}, masks


def _torch_ao(state: State) -> tuple[State, State]:
    """`parametrizations.<weight>.original` and `parametrizations.<weight>.0.mask` (torch.ao.pruning)."""
    matches = {name: match for name in state if (match := _AO_MASK.match(name))}
    matches = {name: m for name, m in matches.items() if _ao_original(m) in state}
    masks = {m["module"] + m["weight"]: state[name] for name, m in matches.items()}
    renamed = {_ao_original(m): m["module"] + m["weight"] for m in matches.values()}
    return {renamed.get(n, n): v for n, v in state.items() if n not in matches}, masks


def _ao_original(match: re.Match[str]) -> str:
    return f"{match['module']}parametrizations.{match['weight']}.original"


def _beside_weight(state: State) -> tuple[State, State]:
    """A buffer `<layer>.mask` beside `<layer>.weight` (TurboPrune)."""
    layers = [
        n.removesuffix(".mask") for n in state if n.endswith(".mask") and f"{n.removesuffix('.mask')}.weight" in state
    ]
    masks = {f"{layer}.weight": state[f"{layer}.mask"] for layer in layers}
    return {
        n: v for n, v in state.items() if f"{n.removesuffix('.mask')}.weight" not in masks or n[-5:] != ".mask"
    }, masks


def _beside_name(state: State) -> tuple[State, State]:
    """Buffers `<name>_mask` beside `<name>`, for weights and biases alike (Synaptic-Flow)."""
    masks = {
        n.removesuffix("_mask"): v
        for n, v in state.items()
        if n.endswith(("weight_mask", "bias_mask")) and n.removesuffix("_mask") in state
    }
    return {n: v for n, v in state.items() if n.removesuffix("_mask") not in masks or n in masks}, masks


def _open_lth(state: State) -> tuple[State, State]:
    """Buffers `mask_<name>`, dots written as three underscores, beside weights below `model.` (open_lth)."""
    masks = {n.removeprefix("mask_").replace("___", "."): v for n, v in state.items() if n.startswith("mask_")}
    stored = {name: mask for name, mask in masks.items() if f"model.{name}" in state}
    if not stored:
        return state, {}
    if lost := [name for name in masks if name not in stored]:
        raise ValueError(f"a layer is incomplete: there are masks, but no weights of {lost}")
    return {n.removeprefix("model."): v for n, v in state.items() if n.startswith("model.")}, stored


_ENCODINGS: dict[str, Callable[[State], tuple[State, State]]] = {
    "torch.nn.utils.prune": _torch_prune,
    "torch.ao.pruning": _torch_ao,
    "turboprune": _beside_weight,
    "synflow": _beside_name,
    "open_lth": _open_lth,
}


def agreed(found: Mapping[str, Mapping[str, Tensor]]) -> State | None:
    """The masks as bool, None if there are none. Raises ValueError if two encodings in one file differ."""
    masks: State = {}
    for encoding, layers in found.items():
        for name, mask in layers.items():
            bits = as_bool(mask, f"{name} ({encoding})")
            if name in masks and not torch.equal(masks[name], bits):
                raise ValueError(f"the masks of {name} differ between the encodings {list(found)}")
            masks[name] = bits
    return masks or None


def as_bool(mask: Tensor, name: str) -> Tensor:
    """A 0/1 tensor as bool. Raises ValueError naming the weight for other values, such as scores."""
    if not torch.is_tensor(mask) or mask.layout is not torch.strided:
        raise ValueError(f"the mask of {name} is a {type(mask).__name__}, not a dense tensor")
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError(f"the mask of {name} has values other than 0 and 1")
    return mask.bool()
