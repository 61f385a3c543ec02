"""Networks that compute with other weights than they store: what learned masks and learned thresholds share."""

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from lth.modules.classifier import Classifier


class EffectiveWeights(Classifier):
    """Calls `net` with `effective()` in place of its prunable weights; any network works unchanged.

    `masks` hold the positions that may be used at all until `harden_` leaves in `masks` and in the network what was
    found, as the same ticket that every other method ends with.
    """

    changes = 0
    _hard = False
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

    def found_masks(self) -> dict[str, Tensor]:
        """The masks (bool) that the level would end with now."""
        return {name: weight != 0 for name, weight in self._detached().items()}

    def forward(self, x: Tensor) -> Tensor:
        if self._hard:
            return self.net(x)
        return functional_call(self.net, self._held or self.effective(), (x,))

    def on_validation_start(self) -> None:
        self._held = None if self._hard else self._detached()  # once, not in every batch

    def on_validation_end(self) -> None:
        self._held = None

    @torch.no_grad()
    def harden_(self) -> None:
        masks, weights = self.found_masks(), self._detached()
        self.masks.copy_(masks)
        for name, weight in zip(self.masks, self.masks.weights(self.net), strict=True):
            weight.copy_(torch.where(masks[name], weights[name], 0))
        self._hard = True

    def kept_now(self) -> dict[str, Tensor]:
        return self.masks.bools() if self._hard else self.found_masks()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["masks"] = {name: mask.cpu() for name, mask in self.found_masks().items()}
        checkpoint["found"] = {name: weight.cpu() for name, weight in self.found().items()}

    def _detached(self) -> dict[str, Tensor]:
        with torch.no_grad():
            return {name: weight.detach() for name, weight in self.effective().items()}

    def _apply(self, fn: Any, recurse: bool = True) -> "EffectiveWeights":
        super()._apply(fn, recurse)
        self.masks.move_(fn)
        return self
