"""Coupled layers: those whose outputs must be pruned together, because a residual sum, a depthwise convolution or a
concatenation joins them.

Found from torch-pruning's dependency graph of a traced forward pass (DepGraph, arXiv 2301.12900).
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lth.pruning.prunable import LAYERS
from lth.pruning.restore import preserved
from lth.pruning.structured._dataflow import zero_image
from lth.pruning.structured.groups import PruningGroup

_Channel = tuple[str, int]  # module name of a layer, index of one of its outputs
_KNOWN = (*LAYERS, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class CoupledLayers:
    """Layers whose outputs form one set of `n_units` units; often a single layer.

    n_units: number of units
    producers: names of the weights that compute the units
    slices: (parameter or buffer, dimension) -> the unit of each index along that dimension; -1 = no unit of this set
    grouped: module names of grouped convolutions that read the units -> the unit of each input channel
    """

    n_units: int
    producers: tuple[str, ...]
    slices: Mapping[tuple[str, int], Tensor]
    grouped: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def consumers(self) -> list[tuple[str, Tensor]]:
        """The weights that read the units, with the unit of each input; empty for the outputs of the network."""
        return [(name, units) for (name, dim), units in self.slices.items() if dim == 1]

    @property
    def is_network_output(self) -> bool:
        """Whether no layer reads the units."""
        return not self.consumers and not self.grouped

    def pruning_group(self, shapes: Mapping[str, Any]) -> PruningGroup:
        """The units as a pruning group: producers are ranked, consumers lose the inputs.

        shapes: shapes of the weights that have masks; must cover the producers
        """
        ranked = {name: _unit_index(self.slices[name, 0], shapes[name], 0) for name in self.producers}
        inputs = [(name, _unit_index(units, shapes[name], 1)) for name, units in self.consumers if name in shapes]
        return PruningGroup(self.n_units, ranked, inputs)


def coupled_layers(net: nn.Module, image_shape: tuple[int, int, int]) -> list[CoupledLayers]:
    """All sets of coupled layers, in the order of the network; every conv and linear layer is in exactly one.

    Raises ImportError without torch-pruning. Raises ValueError for a network whose channels cannot be followed (zero
    padding of channels, for example) or that has parameters outside convolutions, linear layers and batch norms.
    """
    with preserved(net):
        net.eval().requires_grad_(True)
        dependencies = dict(_dependencies(net, image_shape))
    return [_coupled(net, layers, dependencies) for layers in _components(dependencies)]


@dataclass(frozen=True)
class _Dependency:
    """Channels of a layer that are pruned together with outputs of a root layer.

    `channels[i]` of `layer` (its outputs if `is_output`, else its inputs) depends on output `root_channels[i]`.
    """

    layer: str
    is_output: bool
    channels: list[int]
    root_channels: list[int]


def _dependencies(net: nn.Module, image_shape: tuple[int, int, int]) -> Iterator[tuple[str, list[_Dependency]]]:
    """Every layer with the channels that depend on its outputs; an empty list if earlier layers cover all of them."""
    graph, names = _graph(net, image_shape), {id(module): name for name, module in net.named_modules()}
    covered: set[_Channel] = set()
    for module in net.modules():
        if not isinstance(module, LAYERS) or module not in graph.module2node:
            continue
        root, width = names[id(module)], module.weight.shape[0]
        found = []
        if any((root, i) not in covered for i in range(width)):
            prune = graph.get_pruner_of_module(module).prune_out_channels
            group = graph.get_pruning_group(module, prune, list(range(width)))
            found = [dependency for entry in group if (dependency := _dependency(graph, names, entry))]
            covered |= {(each.layer, i) for each in found if each.is_output for i in each.channels}
        yield root, found


def _graph(net: nn.Module, image_shape: tuple[int, int, int]) -> Any:
    modules: Any = sys.modules
    hide_timm = modules.setdefault("timm", None) is None
    try:  # importing timm takes seconds; torch-pruning uses it only to count the operations of timm's layers
        import torch_pruning
    except ImportError as error:
        raise ImportError("dependency groups need torch-pruning: pip install 'lth[structured]'") from error
    finally:
        if hide_timm:
            del modules["timm"]
    return torch_pruning.DependencyGraph().build_dependency(net, zero_image(net, image_shape), verbose=False)


def _dependency(graph: Any, names: Mapping[int, str], entry: Any) -> _Dependency | None:
    """An entry of torch-pruning's group; None for modules without parameters."""
    module = entry.dep.target.module
    if not list(module.parameters()) and not isinstance(module, _KNOWN) if isinstance(module, nn.Module) else False:
        return None
    if not isinstance(module, _KNOWN) or (isinstance(module, LAYERS) and getattr(module, "transposed", False)):
        raise ValueError(f"the units of a {type(module).__name__} cannot be followed: only conv, linear and batch norm")
    name, is_output = names[id(module)], not graph.is_in_channel_pruning_fn(entry.dep.handler)
    is_output = is_output or not isinstance(module, LAYERS) or _is_depthwise(module)
    width = _width(module, is_output)
    if max(entry.idxs) >= width:
        raise ValueError(
            f"the channels of {name} cannot be followed: it has {width}, channel {max(entry.idxs)} is asked for. "
            "Something joins layers of different widths (shortcut=pad does)"
        )
    return _Dependency(name, is_output, list(entry.idxs), list(entry.root_idxs))


def _width(module: Any, is_output: bool) -> int:
    if not isinstance(module, LAYERS):
        return int(module.num_features)
    return int(module.weight.shape[0] if is_output else module.weight.shape[1] * getattr(module, "groups", 1))


def _is_depthwise(module: Any) -> bool:
    return getattr(module, "groups", 1) == module.weight.shape[0] > 1 and module.weight.shape[1] == 1


def _components(dependencies: Mapping[str, list[_Dependency]]) -> list[list[str]]:
    """Sets of layers whose outputs depend on one another, directly or through other layers."""
    from scipy.cluster.hierarchy import DisjointSet

    joined = DisjointSet(dependencies)
    for root, found in dependencies.items():
        for each in found:
            if each.is_output and each.layer in dependencies:
                joined.merge(each.layer, root)
    components: dict[str, list[str]] = {}
    for name in dependencies:
        components.setdefault(joined[name], []).append(name)
    return list(components.values())


def _coupled(net: nn.Module, layers: list[str], dependencies: Mapping[str, list[_Dependency]]) -> CoupledLayers:
    unit_of = _unit_of_channels(layers, dependencies)
    slices: dict[tuple[str, int], Tensor] = {}
    grouped: dict[str, Tensor] = {}
    for root in layers:
        for each in dependencies[root]:
            module = net.get_submodule(each.layer)
            into = grouped if not each.is_output and getattr(module, "groups", 1) > 1 else slices
            for key, width in _places(each, module, into is grouped):
                units = into.setdefault(key, torch.full((width,), -1))
                units[each.channels] = torch.tensor([unit_of[root, i] for i in each.root_channels])
    return CoupledLayers(max(unit_of.values()) + 1, tuple(f"{name}.weight" for name in layers), slices, grouped)


def _unit_of_channels(layers: list[str], dependencies: Mapping[str, list[_Dependency]]) -> dict[_Channel, int]:
    """The unit of every output of `layers`: the same number for outputs that are pruned together."""
    from scipy.cluster.hierarchy import DisjointSet

    joined = DisjointSet()
    for root in layers:
        for each in dependencies[root]:
            if each.is_output and each.layer in dependencies:
                for i, root_i in zip(each.channels, each.root_channels, strict=True):
                    joined.add((each.layer, i))
                    joined.add((root, root_i))
                    joined.merge((each.layer, i), (root, root_i))
    numbers: dict[_Channel, int] = {}
    return {
        channel: numbers.setdefault(joined[channel], len(numbers))
        for channel in sorted(joined, key=lambda channel: (layers.index(channel[0]), channel[1]))
    }


def _places(dependency: _Dependency, module: Any, grouped: bool) -> list[tuple[Any, int]]:
    """Keys of `slices` or, if `grouped`, of `CoupledLayers.grouped`, with the number of channels there."""
    width = _width(module, dependency.is_output)
    if grouped:
        return [(dependency.layer, width)]
    if not dependency.is_output:
        return [((f"{dependency.layer}.weight", 1), width)]
    tensors = {**module._parameters, **module._buffers}
    return [((f"{dependency.layer}.{n}", 0), width) for n, t in tensors.items() if t is not None and t.dim()]


def _unit_index(units: Tensor, shape: Any, dim: int) -> Tensor:
    return units.view([-1 if d == dim else 1 for d in range(len(shape))]).expand(*shape)
