"""Tables of a network under masks: how sparse each weight is, in which units, and what a forward pass computes.

The columns are those of Distiller's model summaries, whose unit for sparsity is percent pruned. Kept weights
that are zero are counted separately from pruned weights.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lth.analysis.layers import uses_per_image, watch_layers
from lth.pruning.prunable import prunable, weights_of
from lth.pruning.structured import units

Row = dict[str, Any]
# Column -> its units in a linear layer and in a convolution. The columns are Distiller's.
_UNITS: dict[str, dict[str, units.Unit]] = {
    "cols": {"linear": units.out_features},
    "rows": {"linear": units.in_features},
    "ch": {"conv": units.channels},
    "2d": {"linear": units.out_features, "conv": units.kernels},
    "3d": {"conv": units.filters},
    "fine": {"linear": units.elements, "conv": units.elements},
}
_ATTRIBUTES = {"kernel_size": "k", "stride": "s", "padding": "p", "dilation": "d", "groups": "g"}


def sparsity_table(net: nn.Module, masks: Mapping[str, Tensor]) -> list[Row]:
    """One row for each weight of dimension 2 or 4, masked or not, and a last one of totals.

    nnz_dense, nnz_sparse: elements, and elements that the mask keeps
    cols, rows: percent of a linear layer's out- and in-features that are pruned completely; None for convolutions
    ch, 3d: percent of a convolution's input channels and filters; None for linear layers
    2d: percent of a convolution's kernels, or of a linear layer's out-features
    fine: percent of the elements
    std, mean, abs_mean: of the masked weight, zeros included
    stray_zeros: elements that the mask keeps and that are zero
    """
    weights = {name: w for name, w in prunable(net).items() if w.dim() in (2, 4)}
    rows = [_sparsity(name, w.detach(), masks.get(name)) for name, w in weights.items()]
    sums = {key: sum(row[key] for row in rows) for key in ("nnz_dense", "nnz_sparse", "stray_zeros")}
    empty = dict.fromkeys(rows[0]) if rows else {}
    fine = _percent(sums["nnz_dense"] - sums["nnz_sparse"], sums["nnz_dense"])
    return [*rows, {**empty, "name": "total", "shape": "", **sums, "fine": fine}]


def masks_table(masks: Mapping[str, Tensor]) -> list[Row]:
    """One row per mask: name, shape, elements, elements kept and pruned, percent pruned (`fine`)."""
    rows = []
    for name, mask in masks.items():
        kept = int(torch.count_nonzero(mask))
        pruned = mask.numel() - kept
        row = {"name": name, "shape": _by(mask.shape), "elements": mask.numel(), "kept": kept, "pruned": pruned}
        rows.append({**row, "fine": _percent(pruned, mask.numel())})
    return rows


def compute_table(net: nn.Module, masks: Mapping[str, Tensor], image_shape: tuple[int, int, int]) -> list[Row]:
    """One row for each weight of a layer that one image uses, and a last one of totals.

      attributes: kernel of a convolution, and its stride, padding, dilation and groups if they are not the defaults
      input, output: shapes at the layer's last call, without the batch
      macs: multiply-adds of one image, without biases; a shared weight counts in every call
      macs_sparse: multiply-adds of kept weights

    image_shape: channels, height, width.
    """
    uses, shapes = uses_per_image(net, image_shape), _shapes(net, image_shape)
    names = {id(p): name for name, p in net.named_parameters()}
    found: dict[str, Row] = {}
    for module_name, module in net.named_modules():
        for weight in weights_of(module):
            name = names[id(weight)]
            if name in uses and name not in found:
                kept = int(torch.count_nonzero(masks[name])) if name in masks else weight.numel()
                counts = {"weight_volume": weight.numel(), "macs": weight.numel() * uses[name]}
                row = {"name": module_name, "type": type(module).__name__, "attributes": _attributes(module)}
                found[name] = {**row, **_volumes(shapes.get(module)), **counts, "macs_sparse": kept * uses[name]}
    rows = list(found.values())
    sums = {key: sum(row[key] for row in rows) for key in ("weight_volume", "macs", "macs_sparse")}
    return [*rows, {**(dict.fromkeys(rows[0]) if rows else {}), "name": "total", **sums}]


def size_in_bytes(net: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, int]:
    """Bytes of the state of `net`, buffers included.

    dense_bytes: with every zero stored
    packed_bytes: with kept weights only, and one bit per element for each mask that prunes
    """
    state = net.state_dict()
    dense = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    packed = dense
    for name, mask in masks.items():
        pruned = mask.numel() - int(torch.count_nonzero(mask))
        if pruned:
            packed -= pruned * state[name].element_size() - (mask.numel() + 7) // 8
    return {"dense_bytes": dense, "packed_bytes": packed}


def _sparsity(name: str, weight: Tensor, mask: Tensor | None) -> Row:
    kept = torch.ones_like(weight, dtype=torch.bool) if mask is None else mask.bool().to(weight.device)
    used, kind = weight * kept, "conv" if weight.dim() == 4 else "linear"
    shares = {column: _percent_empty(kept, by_kind.get(kind)) for column, by_kind in _UNITS.items()}
    return {
        "name": name,
        "shape": _by(weight.shape),
        "nnz_dense": weight.numel(),
        "nnz_sparse": int(kept.sum()),
        **shares,
        "std": float(used.std()) if used.numel() > 1 else 0.0,
        "mean": float(used.mean()),
        "abs_mean": float(used.abs().mean()),
        "stray_zeros": int((kept & (weight == 0)).sum()),
    }


def _percent_empty(kept: Tensor, unit: units.Unit | None) -> float | None:
    """Percent of the units without kept elements; None for a kind of weight without such units."""
    if unit is None:
        return None
    left = units.sum_per_unit(kept, unit(kept.shape))
    return _percent(int((left == 0).sum()), len(left))


def _volumes(shapes: tuple[torch.Size, torch.Size] | None) -> Row:
    """The columns input and output; None for a layer that is used without being called (attention's out_proj)."""
    found: Row = {}
    for key, shape in zip(("input", "output"), shapes or (None, None), strict=True):
        found |= {key: shape and _by(shape), f"{key}_volume": shape and shape.numel()}
    return found


def _attributes(module: nn.Module) -> str:
    plain: dict[str, Any] = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    found = []
    for key, short in _ATTRIBUTES.items():
        value = getattr(module, key, None)
        value = value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value
        if value is not None and value != plain.get(key):
            found.append(f"{short}={value}")
    return " ".join(found)


def _shapes(net: nn.Module, image_shape: tuple[int, int, int]) -> dict[nn.Module, tuple[torch.Size, torch.Size]]:
    """Input and output shape of each layer's last call for one image, without the batch."""
    found: dict[nn.Module, tuple[torch.Size, torch.Size]] = {}

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        read, given = (
            getattr(value, "data", value) for value in (inputs[0], first)
        )  # a packed sequence has its tensor in .data
        found[module] = read.shape[1:], given.shape[1:]

    watch_layers(net, image_shape, note)
    return found


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def _by(shape: torch.Size) -> str:
    return "x".join(map(str, shape))
