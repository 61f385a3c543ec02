"""The layer table: shape, kept weights, density and multiply-adds of every prunable layer."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from lth.pruning.linearised import effective
from lth.pruning.masks import Masks
from lth.pruning.prunable import weights_of
from lth.pruning.repair import dead_units
from lth.pruning.restore import untouched


def layer_table(net: nn.Module, masks: Masks, image_shape: tuple[int, int, int]) -> list[dict[str, Any]]:
    """One row a prunable layer: shape, total, kept, density, effective, dead outputs and inputs, macs, macs_kept.

    macs: multiply-adds of one image of `image_shape` (channels, height, width), from the shapes of a real forward
    pass, biases ignored; macs_kept: those of kept weights alone, each of which is used at every output position.
    effective: kept weights on a path from input to output; None where that cannot be told (networks that normalise
    over features).
    """
    uses, dead = positions(net, image_shape), dead_units(net, masks)
    live = live_weights(net, masks, image_shape)
    rows = []
    for (name, kept), mask in zip(masks.kept_by_layer().items(), masks.values(), strict=True):
        rows.append(
            {
                "layer": name,
                "shape": "x".join(map(str, mask.shape)),
                "total": mask.numel(),
                "kept": kept,
                "density": kept / mask.numel(),
                "effective": None if live is None else live[name],
                "dead_outputs": dead[name][0],
                "dead_inputs": dead[name][1],
                "macs": mask.numel() * uses.get(name, 0),
                "macs_kept": kept * uses.get(name, 0),
            }
        )
    return rows


def live_weights(net: nn.Module, masks: Masks, image_shape: tuple[int, ...]) -> dict[str, int] | None:
    """Kept weights of each layer on a path from input to output; None where all-ones masks would not be live either."""
    everything = Masks({name: torch.ones_like(mask) for name, mask in masks.items()})
    with untouched(net):
        full, live = effective(net, everything, image_shape), effective(net, masks, image_shape)
    if not all(bool(layer.all()) for layer in full.values()):
        return None
    return {name: int(torch.count_nonzero(layer)) for name, layer in live.items()}


def positions(net: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, int]:
    """How often each conv, linear or attention weight is used for one image: its output positions, by parameter name.

    A weight that several layers share is counted in each of them. Attention is taken to look at its own tokens.
    """
    uses: Counter[int] = Counter()

    def count(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(module, nn.MultiheadAttention):  # it reads out_proj's weight without calling the layer
            weights, times = [*weights_of(module), module.out_proj.weight], output[0].numel() // module.embed_dim
        else:
            weights, times = weights_of(module), output.numel() // weights_of(module)[0].shape[0]
        for weight in weights:
            uses[id(weight)] += times

    watch_layers(net, image_shape, count)
    return {name: uses[id(weight)] for name, weight in net.named_parameters() if id(weight) in uses}


def watch_layers(net: nn.Module, image_shape: Sequence[int], look: Callable[[nn.Module, Any, Any], None]) -> None:
    """Call `look(layer, inputs, output)` for each use of a prunable layer, while one blank image goes through `net`."""
    hooks = [module.register_forward_hook(look) for module in net.modules() if weights_of(module)]
    parameter = next(net.parameters())
    try:
        with untouched(net), torch.no_grad():
            net.eval()
            # not net(...): a compiled network would call no hooks and report no uses
            net.forward(torch.zeros(1, *image_shape, device=parameter.device, dtype=parameter.dtype))
    finally:
        for hook in hooks:
            hook.remove()
