"""Masks: which weights are kept. They live beside the network, which knows nothing of them."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from lth.pruning.prunable import prunable


class Masks(Mapping[str, Tensor]):
    """Parameter name -> 0/1 tensor of that parameter's shape, dtype, device and memory format.

    The tensors are allocated once and only ever changed in place, so that compiled graphs, CUDA graphs and cached
    lists of them stay valid.
    """

    def __init__(self, tensors: Mapping[str, Tensor]):
        self._tensors = dict(tensors)

    @classmethod
    def ones(cls, net: nn.Module, include: Sequence[str] = ("*",), exclude: Sequence[str] = ()) -> "Masks":
        """Everything kept, over the prunable weights of `net` (see `prunable` for the patterns)."""
        weights = prunable(net, include, exclude)
        return cls({name: torch.ones_like(w, requires_grad=False) for name, w in weights.items()})

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"Masks({len(self)} weights, {self.kept} of {self.total} kept, density {self.density:.6g})"

    @property
    def total(self) -> int:
        """Number of prunable weights."""
        return sum(m.numel() for m in self._tensors.values())

    @property
    def kept(self) -> int:
        """Number of kept weights (reads the device)."""
        return sum(self.kept_by_layer().values())

    def kept_by_layer(self) -> dict[str, int]:
        """Kept weights of each layer (reads the device)."""
        return {name: int(torch.count_nonzero(m)) for name, m in self._tensors.items()}

    @property
    def density(self) -> float:
        """Fraction of prunable weights kept, 0..1 (reads the device)."""
        return self.kept / self.total

    def weights(self, net: nn.Module) -> list[nn.Parameter]:
        """The parameters of `net` these masks cover, in order. Raises ValueError where names or shapes differ."""
        parameters = dict(net.named_parameters())
        self.check_fit({name: p.shape for name, p in parameters.items()}, "the network", extra_allowed=True)
        return [parameters[name] for name in self]

    @torch.no_grad()
    def apply_(self, net: nn.Module) -> None:
        """Set the pruned weights of `net` to exactly zero, in place."""
        zero_(self.weights(net), list(self.values()))

    @torch.no_grad()
    def copy_(self, other: Mapping[str, Tensor]) -> "Masks":
        """Take over the kept positions of `other` (0/1 or bool, same names and shapes), in place."""
        self.check_fit({name: m.shape for name, m in other.items()}, "the given masks")
        for name, mask in self._tensors.items():
            mask.copy_(other[name])
        return self

    def clone(self) -> "Masks":
        """An independent copy."""
        return Masks({name: m.clone() for name, m in self._tensors.items()})

    def bools(self) -> dict[str, Tensor]:
        """The masks as bool tensors, as they are stored."""
        return {name: m.bool() for name, m in self._tensors.items()}

    def move_(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Follow the network through `.to()`, `.half()` and the like: `fn` is what `nn.Module._apply` hands around."""
        self._tensors = {name: fn(m) for name, m in self._tensors.items()}

    def digest(self) -> str:
        """A hash of the kept positions, equal on every device and dtype."""
        return fingerprint(self.bools())

    def check_fit(self, shapes: Mapping[str, torch.Size], whose: str, extra_allowed: bool = False) -> None:
        """Raise ValueError listing the names and shapes in which these masks and `whose` tensors differ."""
        missing = [name for name in self if name not in shapes]
        extra = [] if extra_allowed else [name for name in shapes if name not in self._tensors]
        wrong = [
            f"{name}: mask {tuple(m.shape)}, {whose} {tuple(shapes[name])}"
            for name, m in self._tensors.items()
            if name in shapes and m.shape != shapes[name]
        ]
        if missing or extra or wrong:
            raise ValueError(f"masks do not fit {whose}: missing {missing}, unexpected {extra}, wrong shape {wrong}")


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A hash of names, dtypes, shapes and bits, whatever the order, for comparing ranks, runs and files."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(raw(tensor).cpu().numpy())
    return digest.hexdigest()


def raw(tensor: Tensor) -> Tensor:
    """The bytes of a tensor's values in index order, as flat uint8."""
    return tensor.detach().contiguous().flatten().view(torch.uint8)


@torch.no_grad()
def zero_(tensors: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
    """Multiply each tensor by its mask in place: one fused dispatch, however many layers there are."""
    if tensors:
        torch._foreach_mul_(list(tensors), list(masks))
