"""Dynamic sparse training: weights are dropped and others grown at intervals within a level."""

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from lth.callbacks._after_step import AfterStep
from lth.callbacks.within.keep_pruned import masked_module
from lth.plan import Level, Times, steps_of
from lth.pruning.seeds import generator
from lth.pruning.timing import UpdateSteps
from lth.pruning.topology import Layer, Update
from lth.pruning.topology.fraction import Fraction, cosine
from lth.pruning.topology.layer import Layers
from lth.pruning.topology.memory import Memory
from lth.training.ranks import broadcast_

ORDERS = ("after_step", "replace_step")


class Regrow(AfterStep):
    """Drops and grows weights of the module's masks at intervals.

    level: the level being trained
    update: what an update drops and grows
    fraction: fraction of the kept weights that is dropped and grown per update, as a function of progress 0..1
    times: when masks are updated; from `times.end` on they are not
    fraction_end: the point at which the schedule of `fraction` ends; None = `times.end`
    order: `after_step` updates after the optimizer's step, with the gradient of that batch (ITOP, GraNet);
        `replace_step` updates instead of it (RigL)
    constrain: True lets weights grow inside the support only
    memory: which dense gradients growth sees; None = those of the batch of the update
    seed: the pruning seed

    Raises ValueError for another order, and for parts that do not fit together.
    Sources: arXiv 1707.04780 (SET), 1911.11134 (RigL), 1907.04840 (SNFS), 2102.02887 (ITOP), 2106.10404 (GraNet).
    """

    reads_weights = True  # and changes masks; `SparseCompute` leaves such a level dense

    def __init__(
        self,
        level: Level,
        update: Update = Update(),
        fraction: Fraction = cosine,
        times: Times = Times(end="100%"),
        fraction_end: int | str | None = None,
        order: str = "after_step",
        constrain: bool = False,
        memory: Memory | None = None,
        seed: int = 0,
    ):
        if order not in ORDERS:
            raise ValueError(f"order {order!r} is not one of {ORDERS}")
        self.moves = UpdateSteps(*times.steps(level.budget))
        self.horizon = self.moves.stop if fraction_end is None else steps_of(fraction_end, level.budget) or 0
        if self.horizon < 1:
            raise ValueError(f"fraction_end={fraction_end!r} must be one optimizer step or more")
        self.update, self.fraction, self.order, self.constrain = update, fraction, order, constrain
        self.memory, self.level, self.seed = memory or Memory(), level, seed
        self.ever: dict[str, Tensor] = {}
        _try_out(update, fraction)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if not pl_module.automatic_optimization:
            raise ValueError("Regrow needs automatic optimization: under manual one a step has no single gradient")
        if not self.ever:  # when resuming, the checkpoint has set it
            self.ever = masked_module(trainer, pl_module).masks.bools()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        # the module masks the gradients after this hook, so they are still dense here
        step = trainer.global_step + 1  # the one about to be taken
        module = masked_module(trainer, pl_module)
        weights = dict(zip(module.masks, module.masks.weights(module.net), strict=True))
        if module.closure.first_pass:
            self.memory.take(lambda: _gradients(weights), self.moves.until(step))
        if self.order == "replace_step" and self.moves.due(step):
            for parameter in module.parameters():
                parameter.grad = None  # an optimizer skips parameters without gradient: no step, no decay, no momentum

    def after_step(self, trainer: Trainer, pl_module: LightningModule, step: int) -> None:
        if self.moves.due(step):
            module = masked_module(trainer, pl_module)
            module.to_average_()
            self.update_(module, step)

    @torch.no_grad()
    def update_(self, module: Any, step: int) -> None:
        """Update the masks of `module` after optimizer step `step`; skips the update if a gradient is not finite."""
        gradients, masks = self.memory.read(), module.masks
        if not all(bool(torch.isfinite(g).all()) for g in gradients.values()):
            self.memory.forget(spoiled=True)
            return
        weights = dict(zip(masks, masks.weights(module.net), strict=True))
        layers = {name: self._layer(name, w, masks[name], gradients, module, step) for name, w in weights.items()}
        _check_dense(layers)
        moved = self.update.masks(layers, self.fraction(min(1.0, step / self.horizon)))
        before = masks.kept
        masks.copy_(moved)
        broadcast_(list(masks.values()))
        assert masks.kept == before, f"a topology update changed the count from {before} to {masks.kept}"
        module.remask_()
        for name, layer in layers.items():
            now = masks[name].bool()
            self.ever[name] = layer.ever | now
            weights[name].copy_(torch.where(now & ~layer.kept, self.update.initial(layer), weights[name]))
        self.memory.forget()

    def state_dict(self) -> dict[str, Any]:
        return {"ever": {n: e.cpu() for n, e in self.ever.items()}, "memory": self.memory.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.ever = state_dict["ever"]
        self.memory.load_state_dict(state_dict["memory"])

    def _layer(
        self, name: str, weight: Tensor, mask: Tensor, gradients: dict[str, Tensor], module: LightningModule, step: int
    ) -> Layer:
        kept = mask.bool()
        allowed = module.support[name].to(mask.device).bool() if self.constrain else torch.ones_like(kept)
        ever = self.ever[name].to(mask.device) | kept
        random = generator("topology", self.seed, self.level.index, step, name)
        return Layer(weight, kept, gradients.get(name), allowed, ever, random)


def _gradients(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.grad for name, weight in weights.items() if weight.grad is not None}


def _try_out(update: Update, fraction: Fraction) -> None:
    """Run one update of a layer of four weights, so that a wrong option raises ValueError before training."""
    weight = torch.tensor([1.0, -1.0, 0.0, 0.0])
    kept = weight != 0
    layer = Layer(weight, kept, torch.ones(4), torch.ones(4, dtype=torch.bool), kept, generator("topology"))
    try:
        update.masks({"layer": layer}, fraction(0.0))
        update.initial(layer)
    except TypeError as error:  # the configuration sets an option that the chosen part does not have
        raise ValueError(f"drop, grow, fraction and new_weights do not go together: {error}") from None


def _check_dense(layers: Layers) -> None:
    """Raise AssertionError if only kept weights have gradients: a mask in the forward pass has removed the others."""
    seen = [(s.kept, s.gradient) for s in layers.values() if s.gradient is not None and s.free]
    inside = any(bool(gradient[kept].any()) for kept, gradient in seen)
    outside = any(bool(gradient[~kept].any()) for kept, gradient in seen)
    assert outside or not inside, "gradients are zero at all pruned weights: they were masked before growth could see"
