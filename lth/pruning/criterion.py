"""The types of a criterion, its data and its scores."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lth.pruning.masks import Masks
from lth.pruning.topk import Scores

CRITERION_TAKES = ("network", "masks", "batches")
ALLOCATION_TAKES = ("scores", "density")


class Batches(Protocol):
    """Training data and loss for scoring: batches without augmentation, on the network's device.

    Every rank sees the same batches, or takes the masks of rank 0.
    """

    classes: int
    image_shape: tuple[int, int, int]  # channels, height, width

    def draw(self, n: int) -> Iterator[Any]:
        """At most `n` batches. In a run of lth they are (images, labels), in an order fixed by the pruning seed."""

    def per_class(self, k: int) -> tuple[Tensor, Tensor]:
        """One batch with `k` samples of every class: images and int64 labels."""

    def loss(self, net: Callable[..., Any], batch: Any) -> Tensor:
        """The mean loss of a batch, a scalar; cross-entropy unless a subclass has another.

        net: the network, or a function that changes its outputs (GraSP divides them by a temperature)
        batch: as `draw` and `per_class` return them
        """
        x, y = batch
        return cross_entropy(net(x), y)


class GivenBatches(Batches):
    """Batches and loss of a script without Lightning.

    batches: iterable of (inputs, labels), such as a DataLoader
    loss: (network, batch) -> mean loss; None = cross-entropy
    """

    classes = 0  # not needed: `per_class` finds them

    def __init__(self, batches: Iterable[Any], loss: Callable[..., Tensor] | None = None):
        self._batches, self._loss = batches, loss

    @classmethod
    def of(cls, batches: Any) -> Any:
        """`batches` unchanged if it is `Batches` or None, otherwise the iterable wrapped, with cross-entropy."""
        return batches if batches is None or hasattr(batches, "per_class") else cls(batches)

    def __getattr__(self, name: str) -> Any:
        """Find `image_shape`, the shape of one input, at its first use, because finding it reads a batch."""
        if name != "image_shape":
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        self.image_shape = self._shape_of_input()
        return self.image_shape

    def _shape_of_input(self) -> Any:
        return tuple(next(iter(self._batches))[0].shape[1:])

    def draw(self, n: int) -> Iterator[Any]:
        return islice(iter(self._batches), n)

    def per_class(self, k: int) -> tuple[Tensor, Tensor]:
        return _first_of_each_class(self._batches, k)

    def loss(self, net: Callable[..., Any], batch: Any) -> Tensor:
        return super().loss(net, batch) if self._loss is None else self._loss(net, batch)


def _first_of_each_class(batches: Iterable[Any], k: int) -> tuple[Tensor, Tensor]:
    """The first `k` inputs of every class (fewer if there are no more) and their labels: one batch.

    batches: pairs (inputs, labels), with 1-D integer labels

    Raises ValueError for batches of another form.
    """
    kept: dict[int, list[Tensor]] = {}
    for batch in batches:
        pair: Any = batch if isinstance(batch, list | tuple) and len(batch) == 2 else (None, None)
        x, y = pair
        if not torch.is_tensor(x) or not torch.is_tensor(y) or y.dim() != 1 or y.is_floating_point():
            raise ValueError(
                "samples of every class need batches of (inputs, integer labels): give the criterion n_batches=1, "
                "samples_per_class=None"
            )
        for label in y.unique().tolist():
            have = kept.setdefault(label, [])
            have.extend(x[y == label][: k - len(have)])
    # one sample of each class in turn: GraSP scores two halves of the batch, and each must hold all classes
    order = [(i, label) for i in range(k) for label in sorted(kept) if i < len(kept[label])]
    inputs = torch.stack([kept[label][i] for i, label in order])
    return inputs, torch.tensor([label for _, label in order], device=inputs.device)


class Criterion(Protocol):
    """Scores each prunable weight; larger = keep. It may change the network and random state: `prune` restores them."""

    def __call__(self, net: nn.Module, masks: Masks, batches: Batches | None) -> Scores: ...


__all__ = ["Batches", "Criterion", "Scores"]


def check_takes(role: str, function: Any, arguments: Sequence[str]) -> None:
    """Raise ValueError if a function cannot be called with these positional arguments; checked before any training.

    role: name of the function's role, for the message
    arguments: names of the arguments it will be called with
    """
    of, given, options = function, (), {}
    if isinstance(function, partial):
        of, given, options = function.func, function.args, function.keywords
    name, wanted = getattr(of, "__name__", repr(of)), ", ".join(arguments)
    if not callable(of):
        raise ValueError(f"{role}={function!r} must be a function of ({wanted})")
    try:
        signature = inspect.signature(of)
    except (TypeError, ValueError):  # a function written in C may have no signature
        return
    try:
        signature.bind(*given, *arguments, **options)
    except TypeError as error:
        takes = ", ".join(signature.parameters)
        raise ValueError(f"{role} must be a function of ({wanted}), and {name}({takes}) is not: {error}") from None
