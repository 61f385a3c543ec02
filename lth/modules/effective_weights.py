"""Networks that compute with other weights than they store: what learned masks and learned thresholds share."""

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from lth.modules.classifier import Classifier


class EffectiveWeights(Classifier):
    """Calls `net` with `effective()` in place of its prunable weights; any network works unchanged.

    `masks` hold the positions that may be used at all until `finalize_` leaves in `masks` and in the network what was
    found, as the same ticket that every other method ends with.
    """

    changes = 0
    _final = False
    _held: dict[str, Tensor] | None = None

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.recipe.ema or self.recipe.averages:
            raise ValueError(
                f"recipe.ema={self.recipe.ema}: weights that are learned otherwise are not averaged; set it to 0, "
                "and take no schedule-free optimizer"
            )

    def effective(self) -> dict[str, Tensor]:
        """The prunable weights the network computes with, by name, differentiable in what is learned."""
        raise NotImplementedError

    def final_masks(self) -> dict[str, Tensor]:
        """The masks (bool) that the level would end with now."""
        return {name: weight != 0 for name, weight in self._detached().items()}

    def forward(self, x: Tensor) -> Tensor:
        if self._final:
            return self.net(x)
        return functional_call(self.net, self._held or self.effective(), (x,))

    def on_validation_start(self) -> None:
        self._held = None if self._final else self._detached()  # once, not in every batch

    def on_validation_end(self) -> None:
        self._held = None

    @torch.no_grad()
    def finalize_(self) -> None:
        masks, weights = self.final_masks(), self._detached()
        self.masks.copy_(masks)
        for name, weight in zip(self.masks, self.masks.weights(self.net), strict=True):
            weight.copy_(torch.where(masks[name], weights[name], 0))
        self._final = True

    def current_masks(self) -> dict[str, Tensor]:
        return self.masks.bools() if self._final else self.final_masks()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["masks"] = {name: mask.cpu() for name, mask in self.final_masks().items()}
        checkpoint["found"] = {name: weight.cpu() for name, weight in self.final_weights().items()}

    def _detached(self) -> dict[str, Tensor]:
        with torch.no_grad():
            return {name: weight.detach() for name, weight in self.effective().items()}

    def _apply(self, fn: Any, recurse: bool = True) -> "EffectiveWeights":
        super()._apply(fn, recurse)
        self.masks.move_(fn)
        return self
