"""The closure that an optimizer calls for the forward and backward pass; SAM calls it twice in one step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from lth.pruning.prunable import batch_norms


class StepClosure:
    """Counts the passes of a step. Passes after the first leave the running statistics of batch norm unchanged.

    net: the network with these batch norms
    """

    def __init__(self, net: nn.Module):
        self._net, self._closure, self._done = net, _nothing, 0

    @property
    def first_pass(self) -> bool:
        """Whether the current pass is the step's first: the one at the weights themselves, which metrics measure."""
        return self._done <= 1

    def wrap(self, closure: Callable[[], Any]) -> "StepClosure":
        """Start a new step, whose passes `closure` computes; returns this object, for the optimizer to call."""
        self._closure, self._done = closure, 0
        return self

    def __call__(self) -> Any:
        self._done += 1
        if self._done == 1:
            return self._closure()
        with _frozen_statistics(self._net):
            return self._closure()


@contextmanager
def _frozen_statistics(net: nn.Module) -> Iterator[None]:
    """Let batch norm use the statistics of its batch without updating the running statistics."""
    norms = [norm for norm in batch_norms(net).values() if norm.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _nothing() -> None:
    return None
