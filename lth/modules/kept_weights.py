"""Training under masks with pruned weights stored as zeros: IMP, pruning at initialisation, fine-tuning.

The network stays plain: no layer subclass, no hook, no buffer. Gradients are masked after unscaling and before
clipping, weights after the optimizer's step. That costs two fused operations in each step, whatever the depth.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lth.modules.classifier import Classifier
from lth.pruning.masks import zero_, zero_gradients_, zero_state_
from lth.pruning.structured.attached import Attached


class KeptWeights(Classifier):
    """Trains the weights that `masks` keep. Pruned weights are exactly zero throughout.

    Their optimizer state is zero too, except for preconditioner matrices (Shampoo, SOAP) and SOAP's second moments,
    which have no per-weight entries.
    """

    applies_masks = True  # callbacks refuse to prune modules without it
    reads_weights = (
        False  # True in modules that need whole weights between steps; else `compute=sparse` may hold kept values
    )
    changes = 0  # rises when masks change; callbacks that keep copies of the weights (EMA) then mask them again
    attached: Attached | None = None  # biases and batch norms pruned with whole outputs; set at a level's start

    def load_previous(self, before: dict[str, Any] | None) -> None:
        """Take the scores of the level before if that was a search: treatments of its ticket use them."""
        if before is not None and "flags" in before:
            state = before["state_dict"]
            self.scores_of_ticket = {name: state[f"scores.{i}"] for i, name in enumerate(before["flags"])}

    def on_fit_start(self) -> None:
        # runs after the callbacks, so that masks and starting weights are final and the optimizer is built
        self._weights, self._kept = self.masks.weights(self.net), list(self.masks.values())
        if self.attached is not None:
            self._weights += self.attached.parameters.values()
            self._kept += self.attached.masks.values()
        self.remask_()

    def remask_(self) -> None:
        """Set weights and optimizer state to zero where the masks prune. Call after masks have changed."""
        self.changes += 1
        if self.attached is not None:
            self.attached.update_(self.masks)
        zero_(self._weights, self._kept)
        zero_state_(self.trainer.optimizers[0], self._weights, self._kept)
        self.mask_in_steps(())

    def mask_in_steps(self, without: Sequence[torch.Tensor]) -> None:
        """Choose the weights that are multiplied by their masks in every step: those whose masks prune something.

        without: weights that hold their kept values alone and need no mask
        """
        free = {id(weight) for weight in without}
        pairs = [
            (weight, kept) for weight, kept in zip(self._weights, self._kept, strict=True) if id(weight) not in free
        ]
        pairs = [(weight, kept) for weight, kept in pairs if not kept.all()]  # none in a dense level
        self._pruned = [weight for weight, _ in pairs], [kept for _, kept in pairs]

    def zero_copies_(self, copies: Mapping[int, torch.Tensor]) -> None:
        """Set copies of the parameters, by `id` of the parameter, to zero where the masks prune."""
        zero_([copies[id(weight)] for weight in self._weights], self._kept)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # unmasked gradients would enter the clipping norm and the momentum of pruned weights
        if self._pruned[0]:
            zero_gradients_(*self._pruned)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if self._pruned[0]:
            zero_(*self._pruned)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["masks"] = {name: mask.cpu() for name, mask in self.masks.bools().items()}
        checkpoint["found"] = self.final_weights()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.masks.copy_(checkpoint["masks"])

    def _apply(self, fn: Any, recurse: bool = True) -> "KeptWeights":
        super()._apply(fn, recurse)
        self.masks.move_(fn)
        return self
