"""Seconds of work on a device, which is waited for at both ends: a GPU goes on after the call that fed it returned."""

import time
from collections.abc import Callable

import torch


def now(device: torch.device) -> float:
    """Seconds on a steady clock, once everything that `device` was given is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that `work` takes."""
    start = now(device)
    work()
    return now(device) - start


class Lap:
    """The seconds between two moments of a loop: batch `first` in hand, and batch `first + steps` in hand.

    So that start-up, the first steps, evaluation and checkpoints are left out, and any two loops that tell their
    batches are timed over the same number of steps. Batches count from 0.
    """

    def __init__(self, first: int, steps: int, device: torch.device):
        self.first, self.last, self.device = first, first + steps, device
        self._start, self._end = 0.0, 0.0

    @property
    def seconds(self) -> float:
        """Of the latest lap."""
        return self._end - self._start

    def reach(self, batch: int) -> bool:
        """Tell that `batch` is in hand; returns whether the lap is over. Waits for the device at its ends only."""
        if batch == self.first:
            self._start = now(self.device)
        elif batch == self.last:
            self._end = now(self.device)
        return batch >= self.last
