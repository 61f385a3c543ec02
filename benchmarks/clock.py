"""Time that work takes on a device, synchronised before and after: calls return before a GPU has finished."""

import time
from collections.abc import Callable

import torch


def now(device: torch.device) -> float:
    """Seconds on a monotonic clock, after all work on `device` has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that `work` takes."""
    start = now(device)
    work()
    return now(device) - start


class Lap:
    """The seconds from the start of batch `first` to the start of batch `first + steps` of a loop.

    Start-up, first steps, evaluation and checkpoints are not timed, and different loops are timed over the same steps.

    first: number of a batch, from 0
    """

    def __init__(self, first: int, steps: int, device: torch.device):
        self.first, self.last, self.device = first, first + steps, device
        self._start, self._end = 0.0, 0.0

    @property
    def seconds(self) -> float:
        """Seconds of the last lap."""
        return self._end - self._start

    def reach(self, batch: int) -> bool:
        """Record that `batch` starts; returns whether the lap is over. Synchronises only at the two ends."""
        if batch == self.first:
            self._start = now(self.device)
        elif batch == self.last:
            self._end = now(self.device)
        return batch >= self.last
