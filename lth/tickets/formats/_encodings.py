"""Masks inside a state dict: four ways in which libraries store them beside the weights."""

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
    return weights, found


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
    masks = {m["module"] + m["weight"]: state[name] for name, m in matches.items()}
    renamed = {
        f"{m['module']}parametrizations.{m['weight']}.original": m["module"] + m["weight"] for m in matches.values()
    }
    return {renamed.get(n, n): v for n, v in state.items() if n not in matches}, masks


def _beside_weight(state: State) -> tuple[State, State]:
    """A buffer `<layer>.mask` beside `<layer>.weight` (TurboPrune)."""
    layers = [
        n.removesuffix(".mask") for n in state if n.endswith(".mask") and f"{n.removesuffix('.mask')}.weight" in state
    ]
    masks = {f"{layer}.weight": state[f"{layer}.mask"] for layer in layers}
    return {
        n: v for n, v in state.items() if f"{n.removesuffix('.mask')}.weight" not in masks or n[-5:] != ".mask"
    }, masks


def _open_lth(state: State) -> tuple[State, State]:
    """Buffers `mask_<name>`, dots written as three underscores, beside weights below `model.` (open_lth)."""
    masks = {n.removeprefix("mask_").replace("___", "."): v for n, v in state.items() if n.startswith("mask_")}
    masks = {name: mask for name, mask in masks.items() if f"model.{name}" in state}
    if not masks:
        return state, {}
    return {n.removeprefix("model."): v for n, v in state.items() if n.startswith("model.")}, masks


_ENCODINGS: dict[str, Callable[[State], tuple[State, State]]] = {
    "torch.nn.utils.prune": _torch_prune,
    "torch.ao.pruning": _torch_ao,
    "turboprune": _beside_weight,
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
    """A 0/1 tensor as bool. Raises ValueError naming the weight for other values, as scores would have."""
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError(f"the mask of {name} has values other than 0 and 1")
    return mask.bool()
