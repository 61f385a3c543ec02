"""The thinned file: weights and masks of a smaller network, and the indices its weights have in the original."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lth.pruning.structured.thin import KeptIndices, cut_
from lth.storage.atomic import write_with
from lth.storage.packing import pack, unpack
from lth.tickets._metadata import has_header

FORMAT = "lth-thinned-1"


class Recipe(NamedTuple):
    """How a network was thinned, in Distiller's form.

    modules: module name -> attribute name -> (dimension, remaining indices), or a list of them
    parameters: tensor name -> list of (dimension, remaining indices)
    """

    modules: Mapping[str, Mapping[str, Any]]
    parameters: Mapping[str, list[tuple[int, Tensor]]]


@dataclass(frozen=True)
class ThinnedFile:
    """The content of a thinned file.

    weights: whole state of the small network
    masks: 0/1, of the small network's shapes
    kept: tensor name -> dimension -> indices that remain of the original network
    header: the original network and the provenance of the weights (JSON values)
    """

    weights: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    kept: KeptIndices
    header: dict[str, Any] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        """`kept` in the form that `index_maps` reads."""
        return Recipe({}, {name: list(dims.items()) for name, dims in self.kept.items()})

    def save(self, path: str | Path) -> None:
        """Write weights, packed masks and indices as safetensors, the header as JSON."""
        tensors = {f"weight/{n}": w.detach().cpu().contiguous().clone() for n, w in self.weights.items()}
        tensors |= {f"mask/{n}": pack(m) for n, m in self.masks.items()}
        tensors |= {f"index/{d}/{n}": i.int().cpu() for n, dims in self.kept.items() for d, i in dims.items()}
        shapes = {n: list(m.shape) for n, m in self.masks.items()}
        header = json.dumps({**self.header, "format": FORMAT, "shapes": shapes})
        write_with(Path(path), lambda temporary: save_file(tensors, temporary, metadata={"lth_thin": header}))

    @classmethod
    def load(cls, path: str | Path) -> "ThinnedFile":
        """Read a thinned file. Raises FileNotFoundError, and ValueError for any other kind of file or a damaged one."""
        if not has_header(path, "lth_thin"):
            raise ValueError(f"{path} is not a thinned file of lth")
        try:
            with safe_open(str(path), framework="pt") as file:
                header = json.loads(file.metadata()["lth_thin"])
                tensors = {key: file.get_tensor(key) for key in list(file.keys())}
            if header.get("format") != FORMAT:
                raise ValueError(f"it has format {header.get('format')!r}; this version reads {FORMAT!r}")
            return cls._of(header, tensors)
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path} is damaged or no thinned file: {type(error).__name__}: {error}") from None

    @classmethod
    def _of(cls, header: dict[str, Any], tensors: Mapping[str, Tensor]) -> "ThinnedFile":
        weights = {key.removeprefix("weight/"): t for key, t in tensors.items() if key.startswith("weight/")}
        masks = {n: unpack(tensors[f"mask/{n}"], shape) for n, shape in header.pop("shapes").items()}
        kept: dict[str, dict[int, Tensor]] = {}
        for key, left in tensors.items():
            if key.startswith("index/"):
                _, dim, name = key.split("/", 2)
                kept.setdefault(name, {})[int(dim)] = left.long()
        return cls(weights, masks, kept, header)

    @torch.no_grad()
    def fill_(self, net: nn.Module) -> nn.Module:
        """Cut the original network `net` to the small shapes and load the weights, in place; sets evaluation mode.

        Raises ValueError if they do not fit.
        """
        try:
            cut_(net, self.kept)
            net.load_state_dict(dict(self.weights))
        except (RuntimeError, AttributeError, IndexError) as error:
            raise ValueError(f"the thinned file does not fit {type(net).__name__}: {error}") from None
        return net.eval()
