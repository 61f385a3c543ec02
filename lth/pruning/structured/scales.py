"""Network slimming: the L1 norm of batch-norm scales, each of which stands for a channel (arXiv 1708.06519)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn

from lth.pruning.prunable import LAYERS
from lth.pruning.structured.group_lasso import Groups, Layer, members_of, strengths
from lth.pruning.structured.units import outputs

NORM = nn.modules.batchnorm._BatchNorm


def scale_l1(net: nn.Module, *, layers: Sequence[Layer], strength: float = 0.0) -> list[Groups]:
    """strength x the sum of |scale| over the batch norms that `layers` name (`*.bn2`, `norms.*`; pairs as in
    `group_lasso`): one group a scale.

    A scale that is removed takes away the output of the conv or linear layer whose result the batch norm reads.
    Raises ValueError for a network without batch-norm scales, and for a pattern that matches none.
    """
    norms = {f"{name}.weight": m for name, m in net.named_modules() if isinstance(m, NORM) and m.affine}
    if not norms:
        raise ValueError(f"{type(net).__name__} has no batch norm with scales, which network slimming penalises")
    weights, before = dict(net.named_parameters()), weights_before(net)
    groups = []
    for name, own in strengths(layers, strength, list(norms)).items():
        members = torch.arange(norms[name].num_features, device=weights[name].device).view(-1, 1)
        weight = before.get(name)
        removes = (weight, members_of(outputs(weights[weight].shape)).to(members.device)) if weight else None
        groups.append(Groups(name, members, own, removes))
    return groups


def weights_before(net: nn.Module) -> dict[str, str]:
    """Batch norm's scale -> the conv or linear weight whose output it reads directly, from the traced graph; empty
    for a network that cannot be traced."""
    try:
        graph = fx.Tracer().trace(net)
    except Exception:  # whatever the network's own code raises when it is run on proxies
        return {}
    modules, found = dict(net.named_modules()), {}
    for node in graph.nodes:
        if node.op == "call_module" and isinstance(modules[node.target], NORM):
            source: Any = node.args[0]
            if getattr(source, "op", "") == "call_module" and isinstance(modules[source.target], LAYERS):
                found[f"{node.target}.weight"] = f"{source.target}.weight"
    return found
