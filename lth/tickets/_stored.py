"""What a ticket file stores of the starting weights: the kept ones apart from the pruned ones, which may be shared.

    mask/NAME     bits of a mask (`lth.storage.packing.pack`)
    kept/NAME     the masked weight's values where the mask keeps, in index order
    rest/NAME     its values where the mask prunes, in index order; or
    zeros/NAME    the same without zeros (`lth.storage.packing.Packed`)
    weight/NAME   a parameter or buffer that no mask covers, whole

Without rest/ and zeros/, the pruned places have their values in a file of the run (`lth.tickets._shared`).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lth.storage.packing import Packed, pack

State = Mapping[str, Tensor]


def covered_weights(masks: State, weights: State) -> dict[str, Tensor]:
    """The floating-point weights that have a mask of their shape; their values are not multiplied by it."""
    pairs = [(name, mask, weights[name]) for name, mask in masks.items() if name in weights]
    return {name: weight for name, mask, weight in pairs if weight.shape == mask.shape and weight.is_floating_point()}


def to_tensors(masks: State, weights: State, rest: bool) -> dict[str, Tensor]:
    """The tensors of a ticket file.

    masks: 0/1 or bool tensors
    weights: the whole state
    rest: whether to store the values of pruned places
    """
    tensors = {f"mask/{name}": pack(mask) for name, mask in masks.items()}
    covered = covered_weights(masks, weights)
    for name, weight in weights.items():
        whole = weight.detach().cpu().contiguous()
        if name not in covered:
            # a clone: safetensors refuses tensors that share memory
            tensors[f"weight/{name}"] = whole.clone()
            continue
        values, kept = Packed.as_integers(whole.flatten()), masks[name].bool().cpu().flatten()
        tensors[f"kept/{name}"] = Packed.selected(values, kept).view(whole.dtype)
        if rest and not kept.all():
            tensors |= smaller("zeros", "rest", name, Packed.selected(values, ~kept).view(whole.dtype))
    return tensors


def to_weights(tensors: State, masks: State, shared: State | None) -> dict[str, Tensor]:
    """The whole state of a ticket file's tensors. Raises ValueError where their sizes do not fit the masks.

    shared: the masked weights from the run's file; None: pruned places without values are zero
    """
    weights = {key.removeprefix("weight/"): t for key, t in tensors.items() if key.startswith("weight/")}
    for name, mask in masks.items():
        if f"kept/{name}" in tensors:
            weights[name] = _joined(name, mask, tensors, shared)
    return dict(sorted(weights.items()))


def smaller(packed: str, plain: str, name: str, tensor: Tensor) -> dict[str, Tensor]:
    """A tensor of a file under `packed`/NAME without its zeros, where that is smaller; else under `plain`/NAME."""
    found = Packed.of(tensor)
    return {f"{plain}/{name}": tensor} if found is None else {f"{packed}/{name}": found.data}


def _joined(name: str, mask: Tensor, tensors: State, shared: State | None) -> Tensor:
    """Assemble a masked weight from its kept values and the rest."""
    kept, places = tensors[f"kept/{name}"], mask.flatten()
    if kept.dim() != 1 or len(kept) != int(torch.count_nonzero(mask)):
        raise ValueError(f"{list(kept.shape)} values do not fit the mask of {name}")
    rest, pruned = tensors.get(f"rest/{name}"), mask.numel() - len(kept)
    values = torch.zeros(mask.numel(), dtype=kept.dtype)
    if f"zeros/{name}" in tensors:
        rest = Packed(tensors[f"zeros/{name}"], str(kept.dtype).removeprefix("torch."), [pruned]).tensor()
    elif rest is None and pruned and shared is not None:
        values = shared[name].flatten()
        if shared[name].shape != mask.shape or values.dtype != kept.dtype:
            raise ValueError(f"the shared weights do not fit {name}")
    if rest is not None:
        if rest.shape != (pruned,) or rest.dtype != kept.dtype:
            raise ValueError(f"{list(rest.shape)} values do not fit what the mask of {name} prunes")
        Packed.as_integers(values).masked_scatter_(~places, Packed.as_integers(rest))
    Packed.as_integers(values).masked_scatter_(places, Packed.as_integers(kept))
    return values.view(mask.shape)
