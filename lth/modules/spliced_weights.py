"""Dense weights under masks that are applied in the forward pass alone, so that pruned weights can come back."""

from typing import Any

from torch import Tensor

from lth.modules.effective_weights import EffectiveWeights


class SplicedWeights(EffectiveWeights):
    """Trains all weights by the gradient at the masked ones; what is masked keeps training and may return.

    W <- W - lr dL/d(W * mask) (dynamic network surgery, Guo et al., NeurIPS 2016, arXiv 1608.04493). The checkpoint's
    network holds the dense weights, `found` the masked ones. Masks change from outside, inside the support.
    """

    def effective(self) -> dict[str, Tensor]:
        weights = self.masks.weights(self.net)
        return {n: masked(w, m) for n, w, m in zip(self.masks, weights, self.masks.values(), strict=True)}

    def setup(self, stage: str) -> None:
        self.net.requires_grad_(True)

    def remask_(self) -> None:
        """The masks have changed. Weights and optimizer state stay as they are."""
        self.changes += 1

    def final_masks(self) -> dict[str, Tensor]:
        return self.masks.bools()

    def final_weights(self) -> dict[str, Tensor]:
        return self._detached()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.masks.copy_(checkpoint["masks"])


def masked(weight: Tensor, mask: Tensor) -> Tensor:
    """weight * mask, with the gradient of weight itself."""
    return weight + (weight * mask - weight).detach()
