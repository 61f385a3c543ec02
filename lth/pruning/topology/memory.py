"""Memory of dense gradients between topology updates: of one step, a mean of some steps, or a moving average."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

_Gradients = dict[str, Tensor]
_TAKEN = "#taken"  # in a state dict, beside names of parameters: gradients summed since the last update


class Memory:
    """Keeps the dense gradient of the step at which an update happens: a copy, taken before gradients are masked."""

    def __init__(self) -> None:
        self.gradients: _Gradients = {}

    def take(self, gradients: Callable[[], _Gradients], until: int) -> None:
        """Called at every optimizer step.

        gradients: returns this step's gradients; called only if they are needed
        until: steps to the next update, 0 = this one
        """
        if until == 0:
            self.gradients = {name: gradient.detach().clone() for name, gradient in gradients().items()}

    def read(self) -> _Gradients:
        """The gradients for an update."""
        return self.gradients

    def forget(self, spoiled: bool = False) -> None:
        """Called after each update. spoiled: the update was skipped, because gradients were not finite."""
        self.gradients = {}

    def state_dict(self) -> _Gradients:
        """The gradients, on the CPU."""
        return {name: tensor.cpu() for name, tensor in self.gradients.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load gradients, on the device of `state`. The `take` of subclasses moves them to the weights' device."""
        self.gradients = dict(state)


class MeanOfLast(Memory):
    """Keeps the mean of the dense gradients of the last `steps` steps, the step of the update included.

    Where fewer steps lie between two updates, it is the mean of their gradients.
    """

    def __init__(self, steps: int = 1):
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps {steps} must be 1 or more")
        self.steps, self.taken = steps, 0

    def take(self, gradients: Callable[[], _Gradients], until: int) -> None:
        if until >= self.steps:
            return
        now = gradients()
        self.taken += 1
        if not self.gradients:
            self.gradients = {name: torch.zeros_like(gradient) for name, gradient in now.items()}
        _to_device(self.gradients, now)
        torch._foreach_add_(list(self.gradients.values()), list(now.values()), alpha=1 / self.steps)

    def read(self) -> _Gradients:
        if self.taken >= self.steps:
            return self.gradients
        return {name: tensor * (self.steps / max(1, self.taken)) for name, tensor in self.gradients.items()}

    def forget(self, spoiled: bool = False) -> None:
        super().forget(spoiled)
        self.taken = 0

    def state_dict(self) -> _Gradients:
        return {**super().state_dict(), _TAKEN: torch.tensor(self.taken)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super().load_state_dict({name: tensor for name, tensor in state.items() if name != _TAKEN})
        self.taken = int(state.get(_TAKEN, self.steps if state else 0))  # files of earlier versions lack it


class Momentum(Memory):
    """Keeps an exponential moving average of dense gradients, updated every step (SNFS, arXiv 1907.04840).

    The optimizer's own momentum cannot be used instead: it is zero at pruned weights.
      decay: weight of the old average, at least 0 and under 1
    """

    def __init__(self, decay: float = 0.9):
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay {decay} must be at least 0 and under 1")
        self.decay = decay

    def take(self, gradients: Callable[[], _Gradients], until: int) -> None:
        now = gradients()
        if not self.gradients:
            self.gradients = {name: torch.zeros_like(gradient) for name, gradient in now.items()}
        _to_device(self.gradients, now)
        torch._foreach_lerp_(list(self.gradients.values()), list(now.values()), 1 - self.decay)

    def forget(self, spoiled: bool = False) -> None:
        """Keep the average, unless it is spoiled: an inf (from a loss scale, say) would stay in it forever."""
        if spoiled:
            self.gradients = {}


def _to_device(held: _Gradients, like: _Gradients) -> None:
    for name, tensor in held.items():
        if tensor.device != like[name].device:
            held[name] = tensor.to(like[name].device)
