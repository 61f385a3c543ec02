"""Which outputs of which layers must go together: what residual sums, depthwise convolutions and concatenations join.

Found from torch-pruning's dependency graph (DepGraph, arXiv 2301.12900), which follows a traced forward pass.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lth.pruning.prunable import LAYERS
from lth.pruning.restore import preserved
from lth.pruning.structured.dataflow import blank
from lth.pruning.structured.groups import Together

Atom = tuple[str, int]  # a layer's module name and the number of one of its outputs
KNOWN = (*LAYERS, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Item:
    """Which indices of a layer's inputs or outputs go with which outputs of a root layer."""

    layer: str
    outputs: bool
    indices: list[int]
    roots: list[int]


@dataclass(frozen=True)
class Coupled:
    """Layers that share one index set of `units` outputs.

    writers: weights whose outputs they are. slices: (parameter or buffer, dimension) -> the unit that each index along
    it belongs to, -1 = of another set. grouped: grouped convolutions that read them (module name) -> unit of each input
    """

    units: int
    writers: tuple[str, ...]
    slices: Mapping[tuple[str, int], Tensor]
    grouped: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def readers(self) -> list[tuple[str, Tensor]]:
        """The weights whose inputs they are, and the unit of each input; none of a network's outputs."""
        return [(name, units) for (name, dim), units in self.slices.items() if dim == 1]

    def together(self, shapes: Mapping[str, Any]) -> Together:
        """The set as parts of its weights; those that read it lose the inputs. shapes: of the weights with masks."""
        ranked = {name: _along(self.slices[name, 0], shapes[name], 0) for name in self.writers}
        follow = [(name, _along(units, shapes[name], 1)) for name, units in self.readers if name in shapes]
        return Together(self.units, ranked, follow)


def coupled(net: nn.Module, image_shape: tuple[int, int, int]) -> list[Coupled]:
    """The sets of all layers, in the order of the network; a layer that shares its outputs with no other is one too.

    Raises ImportError without torch-pruning, and ValueError for a network whose channels cannot be followed (zero
    padding of channels, say) or that holds other layers than convolutions, linear layers and batch norms.
    """
    with preserved(net):
        net.eval().requires_grad_(True)
        groups = dict(_groups(net, image_shape))
    return [_set(net, layers, groups) for layers in _components(groups)]


def _groups(net: nn.Module, image_shape: tuple[int, int, int]) -> Iterator[tuple[str, list[Item]]]:
    """Every layer, and what its outputs take along. Layers whose outputs an earlier one has taken along have none."""
    graph, names = _graph(net, image_shape), {id(module): name for name, module in net.named_modules()}
    taken: set[Atom] = set()
    for module in net.modules():
        if not isinstance(module, LAYERS) or module not in graph.module2node:
            continue
        root, width = names[id(module)], module.weight.shape[0]
        items = []
        if any((root, i) not in taken for i in range(width)):
            prune = graph.get_pruner_of_module(module).prune_out_channels
            group = graph.get_pruning_group(module, prune, list(range(width)))
            items = [item for entry in group if (item := _item(graph, names, entry))]
            taken |= {(item.layer, i) for item in items if item.outputs for i in item.indices}
        yield root, items


def _graph(net: nn.Module, image_shape: tuple[int, int, int]) -> Any:
    modules: Any = sys.modules
    without_timm = modules.setdefault("timm", None) is None
    try:  # torch-pruning imports timm where there is one, to count its layers' operations: seconds for nothing
        import torch_pruning
    except ImportError as error:
        raise ImportError("dependency groups need torch-pruning: pip install 'lth[structured]'") from error
    finally:
        if without_timm:
            del modules["timm"]
    return torch_pruning.DependencyGraph().build_dependency(net, blank(net, image_shape), verbose=False)


def _item(graph: Any, names: Mapping[int, str], entry: Any) -> Item | None:
    """What torch-pruning says of one layer; None for what holds no parameters."""
    module = entry.dep.target.module
    if not list(module.parameters()) and not isinstance(module, KNOWN) if isinstance(module, nn.Module) else False:
        return None
    if not isinstance(module, KNOWN) or (isinstance(module, LAYERS) and getattr(module, "transposed", False)):
        raise ValueError(f"the units of a {type(module).__name__} cannot be followed: only conv, linear and batch norm")
    name, outputs = names[id(module)], not graph.is_in_channel_pruning_fn(entry.dep.handler)
    outputs = outputs or not isinstance(module, LAYERS) or _depthwise(module)
    width = _width(module, outputs)
    if max(entry.idxs) >= width:
        raise ValueError(
            f"the channels of {name} cannot be followed: {max(entry.idxs) + 1} of {width} would go. "
            "Something joins layers of different widths (shortcut=pad does)"
        )
    return Item(name, outputs, list(entry.idxs), list(entry.root_idxs))


def _width(module: Any, outputs: bool) -> int:
    if not isinstance(module, LAYERS):
        return int(module.num_features)
    return int(module.weight.shape[0] if outputs else module.weight.shape[1] * getattr(module, "groups", 1))


def _depthwise(module: Any) -> bool:
    return getattr(module, "groups", 1) == module.weight.shape[0] > 1 and module.weight.shape[1] == 1


def _components(groups: Mapping[str, list[Item]]) -> list[list[str]]:
    """Layers whose outputs are joined, directly or through others."""
    of = {name: name for name in groups}

    def find(name: str) -> str:
        while of[name] != name:
            name = of[name]
        return name

    for root, items in groups.items():
        for item in items:
            if item.outputs and item.layer in of:
                of[find(item.layer)] = find(root)
    joined: dict[str, list[str]] = {}
    for name in groups:
        joined.setdefault(find(name), []).append(name)
    return list(joined.values())


def _set(net: nn.Module, layers: list[str], groups: Mapping[str, list[Item]]) -> Coupled:
    units = _number(layers, groups)
    slices: dict[tuple[str, int], Tensor] = {}
    grouped: dict[str, Tensor] = {}
    for root in layers:
        for item in groups[root]:
            module = net.get_submodule(item.layer)
            into = grouped if not item.outputs and getattr(module, "groups", 1) > 1 else slices
            for key, width in _places(item, module, into is grouped):
                numbers = into.setdefault(key, torch.full((width,), -1))
                numbers[item.indices] = torch.tensor([units[root, r] for r in item.roots])
    return Coupled(max(units.values()) + 1, tuple(f"{name}.weight" for name in layers), slices, grouped)


def _number(layers: list[str], groups: Mapping[str, list[Item]]) -> dict[Atom, int]:
    """The unit of every output: those that go together have the same number."""
    units: dict[Atom, int] = {}
    of: dict[Atom, Atom] = {}

    def find(atom: Atom) -> Atom:
        while of.setdefault(atom, atom) != atom:
            of[atom] = atom = of[of[atom]]
        return atom

    for root in layers:
        for item in groups[root]:
            if item.outputs and item.layer in groups:
                for i, r in zip(item.indices, item.roots, strict=True):
                    of[find((item.layer, i))] = find((root, r))
    first: dict[Atom, int] = {}
    for atom in sorted(of, key=lambda a: (layers.index(a[0]), a[1])):
        units[atom] = first.setdefault(find(atom), len(first))
    return units


def _places(item: Item, module: Any, grouped: bool) -> list[tuple[Any, int]]:
    """Where the item's indices lie: parameters and buffers with their dimension, or the grouped layer itself."""
    width = _width(module, item.outputs)
    if grouped:
        return [(item.layer, width)]
    if not item.outputs:
        return [((f"{item.layer}.weight", 1), width)]
    tensors = {**module._parameters, **module._buffers}
    return [((f"{item.layer}.{n}", 0), width) for n, t in tensors.items() if t is not None and t.dim()]


def _along(units: Tensor, shape: Any, dim: int) -> Tensor:
    return units.view([-1 if d == dim else 1 for d in range(len(shape))]).expand(*shape)
