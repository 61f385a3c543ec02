"""The layer table: shape, kept weights, density and multiply-adds of every prunable layer of a network."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from lth.pruning.linearised import effective
from lth.pruning.masks import Masks
from lth.pruning.prunable import weights_of
from lth.pruning.repair import dead_units
from lth.pruning.restore import preserved


def layer_table(net: nn.Module, masks: Masks, image_shape: tuple[int, int, int] | None) -> list[dict[str, Any]]:
    """One row per prunable layer: layer, shape, total, kept, density and the columns below.

      effective: kept weights on a path from input to output; None if liveness cannot be determined for this
        architecture (networks that normalise over features)
      dead_outputs: outputs without kept weights
      dead_inputs: inputs that no kept weight reads
      macs: multiply-adds of one image, from the shapes of a real forward pass, without biases
      macs_kept: multiply-adds of kept weights alone

    image_shape: channels, height, width; None leaves effective weights and multiply-adds None
    """
    if image_shape is None:
        return list(_layer_rows(net, masks).values())
    uses, live = uses_per_image(net, image_shape), _live_weights(net, masks, image_shape)
    rows = []
    for name, row in _layer_rows(net, masks).items():
        row["effective"] = None if live is None else live[name]
        row["macs"] = row["total"] * uses.get(name, 0)
        row["macs_kept"] = row["kept"] * uses.get(name, 0)
        rows.append(row)
    return rows


def uses_per_image(net: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, int]:
    """How often each weight of a layer is used for one image, by parameter name.

    Convolutions, linear layers and attention use a weight once per output position, transposed convolutions once per
    input position, recurrent layers once per step of the sequence. A weight that several layers share is counted in
    each of them. Attention is taken to be self-attention.
    """
    uses: Counter[int] = Counter()

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        weights = weights_of(module)
        if isinstance(module, nn.MultiheadAttention):  # it reads out_proj's weight without calling the layer
            weights.append(module.out_proj.weight)
        for weight in weights:
            uses[id(weight)] += _positions(module, inputs, output)

    watch_layers(net, image_shape, count)
    return {name: uses[id(weight)] for name, weight in net.named_parameters() if id(weight) in uses}


def _positions(module: nn.Module, inputs: Any, output: Any) -> int:
    """How often a layer multiplies by its weights in one call."""
    if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
        sequence = getattr(output[0], "data", output[0])  # of a packed sequence, its steps
        return int(sequence.numel() // sequence.shape[-1])
    if isinstance(module, nn.RNNCellBase):
        return int(inputs[0].numel() // module.input_size)
    outputs_first = not isinstance(module, _ConvTransposeNd)
    positions: Tensor = output if outputs_first else inputs[0]
    return positions.numel() // weights_of(module)[0].shape[0]


def watch_layers(net: nn.Module, image_shape: Sequence[int], hook: Callable[[nn.Module, Any, Any], None]) -> None:
    """Call `hook(layer, inputs, output)` for each use of a prunable layer in a forward pass of one blank image."""
    handles = [module.register_forward_hook(hook) for module in net.modules() if weights_of(module)]
    parameter = next(net.parameters())
    try:
        with preserved(net), torch.no_grad():
            net.eval()
            # not net(...): a compiled network calls no hooks
            net.forward(torch.zeros(1, *image_shape, device=parameter.device, dtype=parameter.dtype))
    finally:
        for handle in handles:
            handle.remove()


def _layer_rows(net: nn.Module, masks: Masks) -> dict[str, dict[str, Any]]:
    """All columns in the table's order, None if they need a forward pass. `net` is read for groups of convolutions."""
    kept, dead = masks.kept_by_layer(), dead_units(net, masks)
    return {
        name: {
            "layer": name,
            "shape": "x".join(map(str, mask.shape)),
            "total": mask.numel(),
            "kept": kept[name],
            "density": kept[name] / mask.numel(),
            "effective": None,
            "dead_outputs": dead[name][0],
            "dead_inputs": dead[name][1],
            "macs": None,
            "macs_kept": None,
        }
        for name, mask in masks.items()
    }


def _live_weights(net: nn.Module, masks: Masks, image_shape: tuple[int, ...]) -> dict[str, int] | None:
    """Kept weights of each layer on a path from input to output; None if even dense masks leave dead weights."""
    dense = Masks({name: torch.ones_like(mask) for name, mask in masks.items()})
    with preserved(net):
        of_dense = effective(net, dense, image_shape)
        live = of_dense if masks.kept == masks.total else effective(net, masks, image_shape)
    if not all(bool(layer.all()) for layer in of_dense.values()):
        return None
    return Masks(live).kept_by_layer()
