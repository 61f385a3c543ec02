"""The page of other libraries' networks, from networks.yaml: python -m docs.networks > docs/networks.md."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn
from torch.overrides import TorchFunctionMode

from lth.pruning import prunable

LIST = Path(__file__).with_suffix(".yaml")
HEAD = """# Networks of torchvision and timm

`model=torchvision model.name=densenet121` and `model=timm model.name=deit_tiny_patch16_224` train any network of
either library that turns an image into one logit per class. The networks below are tested: all of torchvision's
classifiers and {timm} of timm's. If networks differ only in
width and depth (ResNet-50 to 152), the weights of all of them are counted, and only the smallest is trained; a test
shows that all have the same kinds of layers. For each trained network, tests show:

- masks cover exactly the weights that an independent search of its layers finds: every convolution (grouped, dilated,
  depthwise), linear layer, packed attention weight and recurrent weight; not biases, normalisation, tokens, position
  tables or the kernels of experts (CondConv);
- the output under masks of ones is bit-identical to the original;
- pruned weights stay zero in a training step;
- every trainable parameter gets a gradient under DDP, unless the table says *unused*.

Masks use the names of the network's own parameters, so pretrained weights (`model.pretrained=true`, or the path of a
state dict) are pruned like any others.

**Counts** are those of 1000 classes at the network's usual image size. **tested at**: image size in pixels, and the
options that differ from the library's defaults. **unused**: some parameters do not affect the output, and DDP needs
`trainer.strategy=ddp_find_unused_parameters_true`. This page is made by `python -m docs.networks > docs/networks.md`
from `docs/networks.yaml`, on which the tests run too.
"""
REFUSED = """## Not possible

Networks that standardise their weights in the forward pass (NFNets, BiT's ResNets, ViT hybrids with such a stem): a
pruned weight would be zero in the parameter and -mean/std in the convolution. An experiment that prunes one stops with
an error that names the layers; `prunable.exclude=[...]` leaves those dense. Among them: {names}.
"""
COLUMNS = "network", "layers", "prunable weights", "other parameters", "tested at", ""


class WithoutMemory(TorchFunctionMode):
    """Makes what modules allocate as parameters on the meta device, and leaves the arithmetic of builders real."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        return func(*args, **{**(kwargs or {}), **({"device": "meta"} if func is torch.empty else {})})


@dataclass(frozen=True)
class Entry:
    """One network of the list. image_size, options: as the tests build it. unused: whether DDP must look for those."""

    library: str
    group: str
    name: str
    image_size: int = 32
    options: dict[str, Any] = field(default_factory=dict)
    unused: bool = False

    def __str__(self) -> str:
        return f"{self.library} {self.name}"


@cache
def entries() -> list[Entry]:
    """The list, in its order."""
    content = yaml.safe_load(LIST.read_text())
    groups = [(library, *group) for library in ("torchvision", "timm") for group in content[library].items()]
    return [Entry(lib, group, name, **how) for lib, group, names in groups for name, how in names.items()]


def refused() -> list[str]:
    """timm's networks that the list says cannot be pruned."""
    return yaml.safe_load(LIST.read_text())["refused"]["timm"]


def usual(entry: Entry) -> nn.Module:
    """The network as its library makes it, for ImageNet, without memory."""
    with WithoutMemory():
        if entry.library == "timm":
            import timm

            return timm.create_model(entry.name)
        from torchvision import models

        return models.get_model(entry.name, **{k: v for k, v in entry.options.items() if k != "image_size"})


def row(entry: Entry, net: nn.Module) -> str:
    """Return the network's row in the table of the page.

    net: the network as `usual` builds it
    """
    weights = [weight.numel() for weight in prunable(net).values()]
    other = sum(p.numel() for p in net.parameters()) - sum(weights)
    tested = " ".join([str(entry.image_size), *(f"`{k}: {v}`".lower() for k, v in entry.options.items())])
    cells = f"`{entry.name}`", len(weights), f"{sum(weights):,}", f"{other:,}", tested, "unused" * entry.unused
    return "| " + " | ".join(map(str, cells)) + " |"


def page() -> Iterator[str]:
    """The lines of the page."""
    yield HEAD.format(timm=sum(entry.library == "timm" for entry in entries()))
    for library, group in dict.fromkeys((entry.library, entry.group) for entry in entries()):
        yield f"## {library}" + ("" if group == "all" else f": {group}") + "\n"
        yield "| " + " | ".join(COLUMNS) + " |"
        yield "| --- | ---: | ---: | ---: | --- | --- |"
        yield from (row(entry, usual(entry)) for entry in entries() if (entry.library, entry.group) == (library, group))
        yield ""
    yield REFUSED.format(names=", ".join(f"`{name}`" for name in refused())).rstrip()


if __name__ == "__main__":
    print("\n".join(page()))
