"""Trains pruned linear layers and 1x1 convolutions from their kept values while a level's masks do not change."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import GradientAccumulationScheduler, ModelSummary
from pytorch_lightning.plugins.precision import DoublePrecision, Precision
from rich.console import Console
from torch import Tensor, nn
from torch.optim import Optimizer

from lth.analysis.layers import uses_per_image
from lth.callbacks.within._kept_layer import KeptLayer, sparse_layers
from lth.callbacks.within._sparse_times import faster_sparse
from lth.callbacks.within.ema import EMA
from lth.plan import Level
from lth.pruning.kept_places import compiled_linear

_BY_ELEMENT = ("SGD", "Adam", "AdamW", "SGDScheduleFree", "AdamWScheduleFree")  # optimizers that step by element
_OF_LIGHTNING = (GradientAccumulationScheduler, ModelSummary)  # callbacks that read no weights in a step


class SparseCompute(Callback):
    """Replaces weights of linear layers and 1x1 convolutions by vectors of kept values, from a level's first step.

    level: the level being trained
    image_shape: channels, height and width of an image
    console: prints a line with the layers that are computed from kept values
    mode: `sparse`: every such layer with pruned weights; `auto`: those that are expected to become faster; `dense`:
        none, and the callback does nothing

    Gradients, optimizer state and moving averages then hold kept values alone. Checkpoints and rewind points
    still hold whole matrices. A level is computed densely, and the line says why, if its masks change, if other code
    reads whole weights, if the optimizer is not known to step element by element, or outside one CPU process with full
    precision. The checkpoint stores the chosen layers.
    Must come before callbacks that copy weights when training starts (EMA).
    """

    def __init__(self, level: Level, image_shape: tuple[int, int, int], console: Console, mode: str):
        self.level, self.image_shape, self.console, self.mode = level, image_shape, console, mode
        self.chosen: list[str] | None = None  # names of weights; None before the level has started
        self._layers: dict[int, KeptLayer] = {}  # by id of the weight, from the first step to the level's end
        self._handle: Any = None

    def named(self, table: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows of the layer table with the column `compute`, sparse or dense; without it where the mode is dense."""
        if self.mode == "dense":
            return list(table)
        return [{**row, "compute": "sparse" if row["layer"] in (self.chosen or ()) else "dense"} for row in table]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.mode == "dense":
            return
        reason = _obstacle(trainer, pl_module)
        if self.chosen is None:
            self.chosen = [] if reason else self._choose(pl_module)
        masks = pl_module.masks
        layers = [KeptLayer(pl_module.net.get_submodule(name.rpartition(".")[0]), masks[name]) for name in self.chosen]
        if layers and not self._enter(layers, pl_module):
            self.chosen, reason = [], "the network uses weights outside of their layers"
        if self._layers:
            self._convert(trainer, pl_module, KeptLayer.kept)
            self._handle = trainer.optimizers[0].register_state_dict_post_hook(self._dense_state)
        if trainer.is_global_zero:
            said = f"densely: {reason or 'no pruned layer is faster otherwise'}"
            said = f"from kept values: {', '.join(self.chosen)}" if self.chosen else said
            line = f"level {self.level.index} is computed {said}"
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._leave(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._leave(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        for average in _averages(trainer) if self._layers else ():
            checkpoint["callbacks"][average.state_key] = {
                "average": [dense.cpu() for dense in self._converted(average, pl_module, KeptLayer.dense)]
            }

    def state_dict(self) -> dict[str, Any]:
        return {"chosen": self.chosen} if self.mode != "dense" else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.chosen = state_dict["chosen"]

    def _choose(self, module: Any) -> list[str]:
        masks, net = module.masks, module.net
        pruned = [name for name, mask in masks.items() if not mask.all()]
        able = list(sparse_layers(net, pruned))
        if self.mode == "sparse" or not able:
            return able
        uses = uses_per_image(net, self.image_shape)
        positions = {name: uses.get(name, 0) for name in able}
        layers = {name: masks[name] for name in able}
        compiled = compiled_linear() is not None
        return faster_sparse(layers, positions, module.recipe.batch_size, pruned != able, compiled)

    def _enter(self, layers: Sequence[KeptLayer], module: Any) -> bool:
        """Replace matrices by kept values. Undo it and return False if the network then computes other logits."""
        before = _logits(module.net, self.image_shape)
        for layer in layers:
            layer.enter()
        try:
            same = torch.allclose(_logits(module.net, self.image_shape), before, rtol=1e-3, atol=1e-4)
        except (RuntimeError, IndexError, ValueError):  # a vector where a matrix is expected
            same = False
        if not same:
            for layer in layers:
                layer.leave()
            return False
        self._layers = {id(layer.weight): layer for layer in layers}
        module.mask_in_steps([layer.weight for layer in layers])
        return True

    def _leave(self, trainer: Trainer, module: Any) -> None:
        if not self._layers:
            return
        self._handle.remove()
        self._convert(trainer, module, KeptLayer.dense)
        for layer in self._layers.values():
            layer.leave()
        self._layers = {}
        module.mask_in_steps(())

    def _convert(self, trainer: Trainer, module: Any, how: Callable[[KeptLayer, Tensor], Tensor]) -> None:
        """Convert the optimizer's state and moving averages of the weights."""
        for layer in self._layers.values():
            state = trainer.optimizers[0].state.get(layer.weight, {})
            state.update({key: how(layer, value) for key, value in state.items() if torch.is_tensor(value)})
        for average in _averages(trainer):
            average.average = self._converted(average, module, how)

    def _converted(self, average: EMA, module: Any, how: Callable[[KeptLayer, Tensor], Tensor]) -> list[Tensor]:
        if not average.average:  # training has not started
            return []
        pairs = zip(average.average, average._weights(module), strict=True)
        return [how(self._layers[id(w)], a) if id(w) in self._layers else a for a, w in pairs]

    def _dense_state(self, optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        """The optimizer's state dict with whole matrices."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        layers = {index: self._layers[id(p)] for index, p in enumerate(parameters) if id(p) in self._layers}
        found = dict(state["state"])
        for index, layer in layers.items():
            found[index] = {k: layer.dense(v) if torch.is_tensor(v) else v for k, v in found.get(index, {}).items()}
        return {**state, "state": found}


def _averages(trainer: Trainer) -> list[EMA]:
    return [callback for callback in trainer.callbacks if isinstance(callback, EMA)]


def _obstacle(trainer: Trainer, module: Any) -> str | None:
    """The reason why a level cannot be computed from kept values; None if it can."""
    readers = [type(each).__name__ for each in (module, *trainer.callbacks) if _reads_weights(each)]
    precise = type(trainer.precision_plugin) in (Precision, DoublePrecision)
    optimizer = type(trainer.optimizers[0])
    by_element = optimizer.__name__ in _BY_ELEMENT and optimizer.__module__.startswith(("torch.", "schedulefree."))
    obstacles = {
        f"the device is {module.device.type}": module.device.type != "cpu",
        "torch has no MKL here, and compiled products need numba and threads=1": not (
            torch.backends.mkl.is_available() or compiled_linear()
        ),
        f"{trainer.world_size} processes train together": trainer.world_size > 1,
        f"precision is {trainer.precision}": not precise,
        "the network is compiled": module.net._compiled_call_impl is not None,
        f"{optimizer.__name__} may step on whole matrices": not by_element,
        f"masks move, or whole weights are read: {', '.join(readers)}": bool(readers),
    }
    return next((reason for reason, holds in obstacles.items() if holds), None)


def _reads_weights(thing: Any) -> bool:
    """Whether a module or callback reads or writes whole weights between two steps.

    Callbacks of lth that do declare `reads_weights = True`. Modules, and callbacks from outside lth, are taken to do so
    unless they declare `reads_weights = False`.
    """
    kind = type(thing)
    if kind.__module__.partition(".")[0] == "lth":
        return getattr(kind, "reads_weights", isinstance(thing, LightningModule))
    return vars(kind).get("reads_weights", not isinstance(thing, _OF_LIGHTNING))


@torch.no_grad()
def _logits(net: nn.Module, image_shape: tuple[int, int, int]) -> Tensor:
    """Logits of a network for two fixed random images in evaluation mode, which changes no statistics."""
    modes, first = [(module, module.training) for module in net.modules()], next(net.parameters())
    images = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0)).to(first.dtype)
    try:
        with torch.random.fork_rng(devices=[]):
            logits: Tensor = net.eval().forward(images)
        return logits
    finally:
        for module, training in modes:
            module.training = training
