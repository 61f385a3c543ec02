"""Dispatched operations, counted: what no noisy clock blurs."""

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class CountOps(TorchDispatchMode):
    """Counts the operations that reach the dispatcher, but for views, which compute nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def ops_of(work: Callable[[], object]) -> int:
    """Operations that `work` dispatches when it is done a third time, its lazily made state allocated."""
    work()
    work()
    with CountOps() as counter:
        work()
    return counter.count
