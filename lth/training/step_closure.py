"""The forward and backward passes of one optimizer step: one, or more where the optimizer asks for them (SAM)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class StepClosure:
    """An optimizer's closure that counts its calls. Those after the first leave running statistics as they are."""

    def __init__(self, net: nn.Module):
        self._net, self._closure, self._done = net, _nothing, 0

    @property
    def first_pass(self) -> bool:
        """Whether the pass in hand, or the last one, is the one at the weights themselves: what metrics measure."""
        return self._done <= 1

    def wrap(self, closure: Callable[[], Any]) -> "StepClosure":
        """The passes of a new step."""
        self._closure, self._done = closure, 0
        return self

    def __call__(self) -> Any:
        self._done += 1
        if self._done == 1:
            return self._closure()
        with unmoved_statistics(self._net):
            return self._closure()


@contextmanager
def unmoved_statistics(net: nn.Module) -> Iterator[None]:
    """Batch norm normalises by its batch and forgets it."""
    norms = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _nothing() -> None:
    return None
