"""Masks: which weights of a network are kept. The network itself holds no reference to them."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lth.pruning.prunable import prunable


class Masks(Mapping[str, Tensor]):
    """Parameter name -> 0/1 tensor of that parameter's shape, dtype, device and memory format.

    The tensors are allocated once and, except by `move_`, changed in place only: compiled graphs, CUDA graphs and lists
    that hold them would go stale otherwise.
    """

    def __init__(self, tensors: Mapping[str, Tensor]):
        self._tensors = dict(tensors)

    @classmethod
    def ones(cls, net: nn.Module, include: Sequence[str] = ("*",), exclude: Sequence[str] = ()) -> "Masks":
        """All-ones masks over the prunable weights of `net` (see `prunable` for the patterns)."""
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
        """Number of kept weights. Synchronises with the device."""
        return sum(self.kept_by_layer().values())

    def kept_by_layer(self) -> dict[str, int]:
        """Kept weights of each layer. Synchronises with the device."""
        return {name: int(torch.count_nonzero(m)) for name, m in self._tensors.items()}

    @property
    def density(self) -> float:
        """Fraction of prunable weights kept, 0..1. Synchronises with the device."""
        return self.kept / self.total

    def weights(self, net: nn.Module) -> list[nn.Parameter]:
        """The parameters of `net` that these masks cover, in order. Raises ValueError if names or shapes differ."""
        parameters = dict(net.named_parameters())
        self.check_fit({name: p.shape for name, p in parameters.items()}, "the network", extra_allowed=True)
        return [parameters[name] for name in self]

    def uncovered(self, net: nn.Module) -> dict[str, int]:
        """The matrices among the parameters of `net` that no mask covers, with their numbers of elements.

        A matrix has two or more dimensions that are longer than 1: embeddings count, biases and normalisation do not.
        """
        parameters = {name: p for name, p in net.named_parameters() if name not in self._tensors}
        return {name: p.numel() for name, p in parameters.items() if sum(length > 1 for length in p.shape) >= 2}

    @torch.no_grad()
    def apply_(self, net: nn.Module) -> None:
        """Set the pruned weights of `net` to exactly zero, in place."""
        zero_(self.weights(net), list(self.values()))

    def apply_to_gradients_(self, net: nn.Module) -> None:
        """Set the gradients of the pruned weights of `net` to zero, in place; for training loops without callbacks."""
        zero_gradients_(self.weights(net), list(self.values()))

    @torch.no_grad()
    def copy_(self, other: Mapping[str, Tensor]) -> "Masks":
        """Set these masks to `other` (0/1 or bool), in place. Raises ValueError if names or shapes differ."""
        self.check_fit({name: m.shape for name, m in other.items()}, "the given masks")
        for name, mask in self._tensors.items():
            mask.copy_(other[name])
        return self

    def clone(self) -> "Masks":
        """An independent copy."""
        return Masks({name: m.clone() for name, m in self._tensors.items()})

    def bools(self) -> dict[str, Tensor]:
        """The masks as bool tensors, the dtype of checkpoints and tickets."""
        return {name: m.bool() for name, m in self._tensors.items()}

    def move_(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Apply `fn`, the argument of `nn.Module._apply`, to each mask, so that masks follow `.to()`, `.half()`, ..."""
        self._tensors = {name: fn(m) for name, m in self._tensors.items()}

    def digest(self) -> str:
        """A hash of the kept positions, equal on every device and dtype."""
        return fingerprint(self.bools())

    def check_fit(self, shapes: Mapping[str, torch.Size], whose: str, extra_allowed: bool = False) -> None:
        """Raise ValueError listing the names and shapes in which these masks and other tensors differ.

        shapes: shapes of the other tensors, by name
        whose: name of the other tensors in the message
        extra_allowed: ignore tensors without a mask
        """
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
    """A hash of names, dtypes, shapes and bits, independent of order, for comparing ranks, runs and files."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(raw(tensor).cpu().numpy())
    return digest.hexdigest()


def masked(state: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` with zeros at pruned weights, as new tensors; tensors without a mask are those of `state`.

    A weight that several layers share has one mask, under its first name. Its other names in a state dict are found by
    their values: a tensor that equals a masked one is masked like it.
    """
    found = {name: _mask_of(name, weight, state, masks) for name, weight in state.items()}
    return {n: w if (mask := found[n]) is None else torch.where(mask.bool(), w, 0) for n, w in state.items()}


def _mask_of(name: str, weight: Tensor, state: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensor | None:
    """The mask of a tensor of a state dict: its own, or that of a masked weight with equal values; else None."""
    if name in masks:
        return masks[name]
    same = (mask for other, mask in masks.items() if other in state and torch.equal(state[other], weight))
    return next(same, None) if weight.dim() > 1 else None


def raw(tensor: Tensor) -> Tensor:
    """The bytes of a tensor's values in index order, as flat uint8."""
    return tensor.detach().contiguous().flatten().view(torch.uint8)


def zero_state_(optimizer: torch.optim.Optimizer, weights: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
    """Set the optimizer's state of each weight to zero where its mask prunes, in place.

    Preconditioner matrices (Shampoo, SOAP) have no entry for each weight and stay as they are.
    """
    for weight, mask in zip(weights, masks, strict=True):
        state = _per_weight(optimizer.state.get(weight, {}), mask.shape)
        zero_(state, [mask] * len(state))


def _per_weight(state: Mapping[str, Any], shape: torch.Size) -> list[Tensor]:
    """The tensors of an optimizer's state with one entry per weight; not SOAP's second moments, which `Q` rotates."""
    rotated = {"exp_avg_sq"} if state.get("Q") is not None else set()
    return [v for name, v in state.items() if torch.is_tensor(v) and v.shape == shape and name not in rotated]


def zero_gradients_(weights: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
    """Set the gradient of each weight to zero where its mask prunes, in place; weights without gradient are skipped."""
    pairs = [(w.grad, mask) for w, mask in zip(weights, masks, strict=True) if w.grad is not None]
    zero_([grad for grad, _ in pairs], [mask for _, mask in pairs])


@torch.no_grad()
def zero_(tensors: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
    """Multiply each tensor by its mask, in place, in one fused call for all layers."""
    if tensors:
        torch._foreach_mul_(list(tensors), list(masks))
