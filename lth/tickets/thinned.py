"""The thinned file: a smaller network's weights and masks, and the indices that map them to the original network."""

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
from lth.tickets.ticket import pack, unpack

_FORMAT = "lth-thinned-1"


class _ThinningRecipe(NamedTuple):
    """How a network was thinned, in the form of Distiller's ThinningRecipe.

    `parameters`: tensor name -> list of (dimension, indices that stay). `modules` is empty.
    """

    modules: Mapping[str, Mapping[str, Any]]
    parameters: Mapping[str, list[tuple[int, Tensor]]]


@dataclass(frozen=True)
class ThinnedFile:
    """The contents of a thinned file.

    Args:
      weights: parameters and buffers of the smaller network
      masks: masks (bool) of its weights
      kept: the indices that its tensors keep of the original's
      header: the original network, and the file that the weights come from (JSON values)
    """

    weights: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    kept: KeptIndices
    header: dict[str, Any] = field(default_factory=dict)

    @property
    def recipe(self) -> _ThinningRecipe:
        """`kept` as a thinning recipe, which `lth.tickets.formats` reads from Distiller's files too."""
        return _ThinningRecipe({}, {name: list(dims.items()) for name, dims in self.kept.items()})

    def save(self, path: str | Path) -> None:
        """Write weights, packed masks and indices as safetensors, the header as JSON."""
        tensors = {f"weight/{n}": w.detach().cpu().contiguous().clone() for n, w in self.weights.items()}
        tensors |= {f"mask/{n}": pack(m) for n, m in self.masks.items()}
        tensors |= {f"index/{d}/{n}": i.int().cpu() for n, dims in self.kept.items() for d, i in dims.items()}
        shapes = {n: list(m.shape) for n, m in self.masks.items()}
        header = json.dumps({**self.header, "format": _FORMAT, "shapes": shapes})
        write_with(Path(path), lambda temporary: save_file(tensors, temporary, metadata={"lth_thin": header}))

    @classmethod
    def load(cls, path: str | Path) -> "ThinnedFile":
        """Read a thinned file. Raises FileNotFoundError, and ValueError for any other kind of file."""
        if not is_thinned(path):
            raise ValueError(f"{path} is not a thinned file of lth")
        with safe_open(str(path), framework="pt") as file:
            header = json.loads(file.metadata()["lth_thin"])
            tensors = {key: file.get_tensor(key) for key in list(file.keys())}
        if header.get("format") != _FORMAT:
            raise ValueError(f"{path} has thinned format {header.get('format')!r}; this version reads {_FORMAT!r}")
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
        """Thin the original network `net` in place and load these weights. Raises ValueError where they do not fit."""
        try:
            cut_(net, self.kept)
            net.load_state_dict(dict(self.weights))
        except (RuntimeError, AttributeError, IndexError) as error:
            raise ValueError(f"the thinned file does not fit {type(net).__name__}: {error}") from None
        return net.eval()


def is_thinned(path: str | Path) -> bool:
    """Whether a safetensors file has the header of a thinned file. Raises FileNotFoundError without a file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file at {path}")
    try:
        with safe_open(str(path), framework="pt") as file:
            return "lth_thin" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False
