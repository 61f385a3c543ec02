"""What is remembered of the dense gradients between updates."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Gradients = dict[str, Tensor]


class Memory:
    """The dense gradient of the update's own step, a copy taken before gradients are masked; nothing on other steps.

    `take` is called at every optimizer step, with the number of steps until the next update (0 = this one).
    """

    def __init__(self) -> None:
        self.gradients: Gradients = {}

    def take(self, gradients: Callable[[], Gradients], until: int) -> None:
        """Look at this step's gradients, which `gradients` reads only when called."""
        if until == 0:
            self.gradients = {name: gradient.detach().clone() for name, gradient in gradients().items()}

    def read(self) -> Gradients:
        """What an update sees."""
        return self.gradients

    def forget(self, spoiled: bool = False) -> None:
        """After an update. spoiled: the update was left out, because what was remembered is not finite."""
        self.gradients = {}

    def state_dict(self) -> Gradients:
        """For a checkpoint."""
        return {name: tensor.cpu() for name, tensor in self.gradients.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """From a checkpoint; the tensors follow the weights' device at the next step."""
        self.gradients = dict(state)


class MeanOfLast(Memory):
    """The mean of the last `steps` dense gradients up to the update."""

    def __init__(self, steps: int = 1):
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps {steps} must be 1 or more")
        self.steps = steps

    def take(self, gradients: Callable[[], Gradients], until: int) -> None:
        if until >= self.steps:
            return
        now = gradients()
        if not self.gradients:
            self.gradients = {name: torch.zeros_like(gradient) for name, gradient in now.items()}
        _to_device(self.gradients, now)
        torch._foreach_add_(list(self.gradients.values()), list(now.values()), alpha=1 / self.steps)


class Momentum(Memory):
    """An exponential moving average of dense gradients, updated every step (SNFS, arXiv 1907.04840).

    decay: share of the old average kept, 0..1. The optimizer's own momentum is zero at pruned weights, hence this one.
    """

    def __init__(self, decay: float = 0.9):
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay {decay} must be at least 0 and under 1")
        self.decay = decay

    def take(self, gradients: Callable[[], Gradients], until: int) -> None:
        now = gradients()
        if not self.gradients:
            self.gradients = {name: torch.zeros_like(gradient) for name, gradient in now.items()}
        _to_device(self.gradients, now)
        torch._foreach_lerp_(list(self.gradients.values()), list(now.values()), 1 - self.decay)

    def forget(self, spoiled: bool = False) -> None:
        """Nothing, the average goes on; but an inf that a loss scale caused would stay in it for ever."""
        if spoiled:
            self.gradients = {}


def _to_device(held: Gradients, like: Gradients) -> None:
    for name, tensor in held.items():
        if tensor.device != like[name].device:
            held[name] = tensor.to(like[name].device)
