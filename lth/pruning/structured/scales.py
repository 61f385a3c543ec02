"""Network slimming: the L1 norm of batch-norm scales, each of which stands for a channel (arXiv 1708.06519)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn

from lth.pruning.prunable import LAYERS
from lth.pruning.structured._penalised import strengths, unit_members
from lth.pruning.structured.penalty import LayerStrength, PenaltyGroups
from lth.pruning.structured.units import outputs

_NORM = nn.modules.batchnorm._BatchNorm


def scale_l1(net: nn.Module, *, layers: Sequence[LayerStrength], strength: float = 0.0) -> list[PenaltyGroups]:
    """The groups of the penalty strength * sum of |scale| over batch norms: one group per scale.

    Removing a scale removes the output of the conv or linear layer that the batch norm reads directly. Raises
    ValueError for a network without batch-norm scales, and as `strengths` does.

    layers: name patterns of batch norms (`*.bn2`, `norms.*`), or pairs of a pattern and its strength
    strength: lambda of patterns without their own
    """
    norms = {f"{name}.weight": m for name, m in net.named_modules() if isinstance(m, _NORM) and m.affine}
    if not norms:
        raise ValueError(f"{type(net).__name__} has no batch norm with scales, which network slimming penalises")
    weights, sources = dict(net.named_parameters()), _source_weights(net)
    groups = []
    for name, own in strengths(layers, strength, list(norms)).items():
        members = torch.arange(norms[name].num_features, device=weights[name].device).view(-1, 1)
        source = sources.get(name)
        removes = (source, unit_members(outputs(weights[source].shape)).to(members.device)) if source else None
        groups.append(PenaltyGroups(name, members, own, removes))
    return groups


def _source_weights(net: nn.Module) -> dict[str, str]:
    """Name of a batch norm's scale -> name of the conv or linear weight whose outputs the batch norm reads directly.

    Empty for a network that torch.fx cannot trace.
    """
    try:
        graph = fx.Tracer().trace(net)
    except Exception:  # the network's own code may raise anything when it runs on proxies
        return {}
    modules, found = dict(net.named_modules()), {}
    for node in graph.nodes:
        if node.op == "call_module" and isinstance(modules[node.target], _NORM):
            source: Any = node.args[0]
            if getattr(source, "op", "") == "call_module" and isinstance(modules[source.target], LAYERS):
                found[f"{node.target}.weight"] = f"{source.target}.weight"
    return found
