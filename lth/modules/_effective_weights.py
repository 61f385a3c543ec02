"""Networks that compute with other weights than they store: the base of learned masks and learned thresholds."""

from abc import ABC, abstractmethod
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Variable

from lth.modules.classifier import Classifier
from lth.pruning.restore import preserved, replaced


class EffectiveWeights(Classifier, ABC):
    """Calls `net` with the tensors of `effective()` in place of its own; any network works unchanged.

    During training `masks` hold the weights that may be used; in surgery others may return. `finalize_` writes the
    masks and weights of the result into `masks` and the network, so that the level ends with the same kind of ticket as
    every other method.

    Raises ValueError for a recipe that averages weights (EMA, schedule-free optimizers).
    """

    applies_masks = True
    trains_network = True  # False leaves the network's own parameters as they are; the module trains others
    changes = 0  # rises when masks change
    _final = False  # whether `finalize_` has been called
    _cached: dict[str, Tensor] | None = None  # the effective weights, while they do not change

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.recipe.ema or self.recipe.averages:
            raise ValueError(
                f"recipe.ema={self.recipe.ema}: this method trains scores or thresholds and cannot average weights; "
                "set recipe.ema=0, and take no schedule-free optimizer"
            )

    def check_network(self, image_shape: tuple[int, int, int]) -> None:
        """Raise ValueError for a network that checkpoints activations with use_reentrant=True.

        image_shape: channels, height and width
        """
        with preserved(self.net), torch.enable_grad():
            self.net.train()
            output = self.net.forward(torch.zeros(2, *image_shape, requires_grad=True))
        if _has_reentrant_parts(output):
            raise ValueError(
                f"model: {type(self.net).__name__} checkpoints activations with use_reentrant=True, which this method "
                "cannot train; set use_reentrant=False"
            )

    def setup(self, stage: str) -> None:
        self._unfrozen = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        if not self.trains_network:
            self.net.requires_grad_(False)

    def teardown(self, stage: str) -> None:
        """Make the parameters trainable again that were trainable before this level."""
        for parameter in self._unfrozen:
            parameter.requires_grad_(True)

    @abstractmethod
    def effective(self) -> dict[str, Tensor]:
        """The tensors the network computes with (name -> tensor), differentiable in what is trained."""

    def final_masks(self) -> dict[str, Tensor]:
        """The bool masks the level would end with if it ended now."""
        return {name: weight != 0 for name, weight in self._detached().items()}

    def forward(self, x: Tensor) -> Tensor:
        if self._final:
            return self.net(x)
        weights = self._cached or self.effective()
        with replaced(self.net, weights):
            logits: Tensor = self.net(x)
        if logits.requires_grad:
            logits.register_hook(partial(_replace_in_backward, self.net, weights))
        return logits

    def on_validation_start(self) -> None:
        self._cached = None if self._final else self._detached()  # computed once, not in every batch

    def on_validation_end(self) -> None:
        self._cached = None

    @torch.no_grad()
    def validate_now(self, weights: dict[str, Tensor] | None = None) -> dict[str, float]:
        """Validate within an epoch, outside Lightning's loop; returns the metrics, empty without a validation set.

        weights: name -> tensor the network computes with; None = the effective weights
        """
        self.eval()
        self._cached = weights or self._detached()
        for index, (x, labels) in enumerate(self.trainer.datamodule.val_dataloader() or ()):
            self.validation_step((x.to(self.device, self.dtype), labels.to(self.device)), index)
        self._cached = None
        self.train()
        return self.evaluation["val"].read() if self.validation_metrics else {}

    @torch.no_grad()
    def finalize_(self) -> None:
        """Write the final masks and effective weights into `masks` and the network, which is then called as it is."""
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


def _replace_in_backward(net: nn.Module, weights: dict[str, Tensor], gradient: Tensor) -> None:
    """Let `net` compute with `weights` until the backward pass ends, in which checkpointed parts compute again."""
    until_end = ExitStack()
    until_end.enter_context(replaced(net, weights))
    Variable._execution_engine.queue_callback(until_end.close)


def _has_reentrant_parts(output: Tensor) -> bool:
    """Whether a part of the graph of `output` is computed by `torch.utils.checkpoint` with use_reentrant=True."""
    seen, todo = set(), [output.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        if node.name() == "CheckpointFunctionBackward":
            return True
        seen.add(node)
        todo += [following for following, _ in node.next_functions]
    return False
