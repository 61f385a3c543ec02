"""Counts dispatched operations, a measure without timing noise."""

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class CountOps(TorchDispatchMode):
    """Counts the operations that reach the dispatcher; views compute nothing and are not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def ops_of(work: Callable[[], object]) -> int:
    """Operations that `work` dispatches in its third run, after lazily created state exists."""
    work()
    work()
    with CountOps() as counter:
        work()
    return counter.count
