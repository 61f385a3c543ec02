"""Dense weights whose masks are applied only in the forward pass, so that pruned weights can come back."""

from typing import Any

from torch import Tensor

from lth.modules._effective_weights import EffectiveWeights


class SplicedWeights(EffectiveWeights):
    """Dynamic network surgery (Guo et al., NeurIPS 2016, arXiv 1608.04493): W <- W - lr dL/d(W * mask).

    All weights are trained, with the gradient with respect to the masked ones. A checkpoint holds the dense weights in
    its state dict and the masked ones under `found`. A callback (`Scheduled`) changes the masks within the support.
    """

    def effective(self) -> dict[str, Tensor]:
        weights = self.masks.weights(self.net)
        return {n: _masked(w, m) for n, w, m in zip(self.masks, weights, self.masks.values(), strict=True)}

    def remask_(self) -> None:
        """Count a change of the masks. Nothing is zeroed: pruned weights keep their values and optimizer state."""
        self.changes += 1

    def final_masks(self) -> dict[str, Tensor]:
        return self.masks.bools()

    def final_weights(self) -> dict[str, Tensor]:
        return self._detached()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.masks.copy_(checkpoint["masks"])


def _masked(weight: Tensor, mask: Tensor) -> Tensor:
    """weight * mask, with the straight-through gradient: that of `weight`, not multiplied by the mask."""
    return weight + (weight * mask - weight).detach()
