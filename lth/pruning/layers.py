"""The layer table: shape, kept weights, density and multiply-adds of every prunable layer."""

from typing import Any

import torch
from torch import Tensor, nn

from lth.pruning.masks import Masks
from lth.pruning.prunable import LAYERS
from lth.pruning.purity import untouched


def layer_table(net: nn.Module, masks: Masks, image_shape: tuple[int, int, int]) -> list[dict[str, Any]]:
    """One row a prunable layer: name, shape, total, kept, density, macs, macs_kept.

    macs: multiply-adds of one image of `image_shape` (channels, height, width), from the shapes of a real forward
    pass, biases ignored; macs_kept: those of kept weights alone, each of which is used at every output position.
    """
    uses = positions(net, image_shape)
    return [
        {
            "layer": name,
            "shape": "x".join(map(str, mask.shape)),
            "total": mask.numel(),
            "kept": kept,
            "density": kept / mask.numel(),
            "macs": mask.numel() * uses.get(name, 0),
            "macs_kept": kept * uses.get(name, 0),
        }
        for (name, kept), mask in zip(masks.kept_by_layer().items(), masks.values(), strict=True)
    ]


def positions(net: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, int]:
    """How often each conv or linear weight is used for one image: its output positions, by parameter name."""
    uses: dict[str, int] = {}
    names = {m: f"{prefix}.weight".lstrip(".") for prefix, m in net.named_modules() if isinstance(m, LAYERS)}

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        width = output.shape[1] if not isinstance(module, nn.Linear) else output.shape[-1]
        uses[names[module]] = uses.get(names[module], 0) + output.numel() // width

    hooks = [module.register_forward_hook(count) for module in names]
    parameter = next(net.parameters())
    try:
        with untouched(net), torch.no_grad():
            net.eval()
            net(torch.zeros(1, *image_shape, device=parameter.device, dtype=parameter.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return uses
