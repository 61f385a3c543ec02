"""Keeps pruned weights at zero in any LightningModule, on one device or under DDP."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn

from lth.modules.classifier import Classifier
from lth.pruning.criterion import Batches, GivenBatches
from lth.pruning.masks import Masks, zero_, zero_gradients_, zero_state_
from lth.training.step_closure import StepClosure

Loss = Callable[[Callable[..., Any], Any], Tensor]


class KeepPruned(Callback):
    """Keeps the pruned weights of a LightningModule at exactly zero while it trains.

    masks: masks of the weights, from `Masks.ones(model)` or `Masks.ones(model.part)`; changed in place
    net: the module whose parameter names the masks use; None = the LightningModule, or the one submodule that fits
    loss: for criteria that need data (SNIP, GraSP): (network, batch) -> mean loss; None = the `training_step`
    loader: batches for such criteria; None = the Trainer's training batches

    Gradients are masked before they are clipped. Weights are masked directly after each optimizer's step, for any
    number of optimizers, under automatic and manual optimization. When masks change, the optimizers' state and copies
    of the module that callbacks hold (Lightning's WeightAveraging) are masked too. Checkpoints hold the masks.

    Raises ValueError before training: for masks that fit no module or several, for a second `KeepPruned`, and for
    strategies that shard parameters (FSDP, DeepSpeed). Raises RuntimeError after training if pruned weights are not
    zero because other code wrote weights after the optimizer's step.
    """

    applies_masks = True

    def __init__(self, masks: Masks, net: nn.Module | None = None, loss: Loss | None = None, loader: Any = None):
        self.changes = 0  # rises when masks change
        self.events: list[dict[str, Any]] = []  # rows of events.csv
        self._given, self._net, self._loss, self._loader = masks, net, loss, loader
        self._handles: list[Any] = []
        self._trainer: Trainer | None = None

    @property
    def state_key(self) -> str:
        """Name under which the checkpoint stores this callback's state."""
        return self._generate_state_key(weights=sha256(" ".join(self._given).encode()).hexdigest()[:8])

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        if type(trainer).__module__.startswith("lightning."):
            raise ValueError(
                "this Trainer is of the package `lightning`: write `import pytorch_lightning as pl` instead"
            )
        if sum(isinstance(callback, KeepPruned) for callback in trainer.callbacks) > 1:
            raise ValueError("a Trainer takes one KeepPruned; its masks may cover the whole module: Masks.ones(model)")
        if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            name = type(trainer.strategy).__name__
            raise ValueError(f"KeepPruned needs whole parameters on each device (one device, or DDP), not {name}")
        self._prefix = _prefix(pl_module, self._given, self._net)
        # last, so that other callbacks read dense gradients and change masks and weights first
        others = [callback for callback in trainer.callbacks if callback is not self]
        last = [callback for callback in others if isinstance(callback, Checkpoint)]
        trainer.callbacks = [*(c for c in others if c not in last), self, *last]

    def bind(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the weights, move the masks to their device and hook the optimizers; a no-op after the first call."""
        if self._trainer is trainer:
            return
        self._trainer, self.net = trainer, pl_module
        named = dict(pl_module.named_parameters())
        weights = iter([named[self._prefix + name] for name in self._given])
        self._given.move_(lambda mask: mask.to(next(weights)))
        # the same tensors under the names of the whole module
        self.masks = Masks({self._prefix + name: mask for name, mask in self._given.items()})
        self.support = Masks({name: torch.ones_like(mask) for name, mask in self.masks.items()})
        self._weights, self._kept = self.masks.weights(pl_module), list(self.masks.values())
        self.closure = StepClosure(pl_module)
        for optimizer in trainer.optimizers:
            self._handles.append(optimizer.register_step_post_hook(self._after_step))

    @property
    def device(self) -> torch.device:
        """Where the first masked weight is."""
        return self._weights[0].device

    def parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of the LightningModule."""
        return self.net.parameters()

    def to_average_(self) -> None:
        """Do nothing: a module with a schedule-free optimizer switches it itself."""

    def scoring_data(self, seed: int) -> Batches:
        """The batches and the loss for a criterion.

        seed: unused; a script's batches come in the order of its loader
        """
        assert self._trainer is not None
        return _ScriptBatches(self._trainer, self.net, self._loss, self._loader)

    def remask_(self) -> None:
        """Set weights, their copies and optimizer state to zero where the masks prune. Call after masks changed."""
        assert self._trainer is not None
        self.changes += 1
        zero_(self._weights, self._kept)
        for optimizer in self._trainer.optimizers:
            zero_state_(optimizer, self._weights, self._kept)
        for copied in _copies(self._trainer, self.net):
            values = dict(copied.named_parameters())
            pairs = [(values[name], mask) for name, mask in self.masks.items() if name in values]
            zero_([value for value, _ in pairs], [mask for _, mask in pairs])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.bind(trainer, pl_module)
        self.remask_()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.remask_()  # when training resumes, the optimizers' state has been loaded since

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not pl_module.automatic_optimization:  # the module may clip gradients itself, before the step
            zero_gradients_(self._weights, self._kept)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        zero_gradients_(self._weights, self._kept)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._trainer = None
        wrong = [n for n, w, m in zip(self.masks, self._weights, self._kept, strict=True) if bool((w * (1 - m)).any())]
        if wrong:
            raise RuntimeError(
                f"pruned weights of {wrong} are not zero: something wrote them after the optimizer's step "
                "(a callback that swaps weights, for example)"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"masks": {name: mask.cpu() for name, mask in self._given.bools().items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._given.copy_(state_dict["masks"])

    def _after_step(self, *_: Any) -> None:
        zero_(self._weights, self._kept)


def masked_module(trainer: Trainer, pl_module: LightningModule, prunes: bool = True) -> Any:
    """The object that holds the network, its masks and `remask_`: a module of lth, or the Trainer's `KeepPruned`.

    prunes: whether the caller changes masks; the module must then apply them

    Raises ValueError where neither applies masks: training would go on with all weights.
    """
    if getattr(pl_module, "applies_masks", False) or (isinstance(pl_module, Classifier) and not prunes):
        return pl_module
    keepers = [callback for callback in trainer.callbacks if isinstance(callback, KeepPruned)]
    if not keepers:
        raise ValueError(
            f"{type(pl_module).__name__} does not apply masks, so pruning would change nothing: add "
            "lth.callbacks.KeepPruned(masks) to the Trainer's callbacks"
        )
    keepers[0].bind(trainer, pl_module)
    return keepers[0]


class _ScriptBatches(GivenBatches):
    """Batches and loss of a script: its loader, and its training step or loss function."""

    def __init__(self, trainer: Trainer, module: LightningModule, loss: Loss | None, loader: Any):
        super().__init__(loader, loss)
        self._trainer, self._module = trainer, module

    def _shape_of_input(self) -> Any:
        """The shape of the module's `example_input_array`, or of the data, without the batch."""
        example = getattr(self._module, "example_input_array", None)
        if example is None:
            batch = next(self.draw(1))
            example = batch[0] if isinstance(batch, list | tuple) else batch
        if not torch.is_tensor(example):
            raise ValueError("this criterion needs the shape of an input: set the module's `example_input_array`")
        return tuple(example.shape[1:])

    def _loader(self) -> Any:
        if self._batches is not None:
            return self._batches
        self._trainer.fit_loop.setup_data()
        return self._trainer.train_dataloader

    def draw(self, n: int) -> Iterator[Any]:
        return (self._trainer.strategy.batch_to_device(batch) for batch in islice(iter(self._loader()), n))

    def per_class(self, k: int) -> tuple[Tensor, Tensor]:
        moved = (self._trainer.strategy.batch_to_device(batch) for batch in self._loader())
        return GivenBatches(moved).per_class(k)

    def loss(self, net: Callable[..., Any], batch: Any) -> Tensor:
        if self._loss is not None:
            return self._loss(net, batch)
        if net is not self._module:
            raise ValueError("GraSP scales the network's outputs: give KeepPruned(masks, loss=...) a function")
        module: Any = self._module
        if not module.automatic_optimization:
            raise ValueError(
                "this criterion needs a loss, and the training_step of a module with manual optimization returns none: "
                "give KeepPruned(masks, loss=...) a function"
            )
        with _without_logging(self._module):
            result = module.training_step(batch, 0)
        return result["loss"] if isinstance(result, dict) else result


@contextmanager
def _without_logging(module: LightningModule) -> Iterator[None]:
    """Let `self.log` of a training step do nothing: outside Lightning's loop it would raise an error."""
    replaced = ("log", "log_dict")
    module.__dict__.update(dict.fromkeys(replaced, _nothing))
    try:
        yield
    finally:
        for name in replaced:
            del module.__dict__[name]


def _nothing(*_: Any, **__: Any) -> None:
    pass


def _prefix(module: LightningModule, masks: Masks, net: nn.Module | None) -> str:
    """The prefix of mask names in the parameter names of `module`: "" or the name of a submodule and a dot."""
    shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
    named = [(f"{name}." if name else "", part) for name, part in module.named_modules()]
    if net is not None:
        found = [prefix for prefix, part in named if part is net]
        if not found:
            raise ValueError(f"KeepPruned(net=...): {type(net).__name__} is no part of {type(module).__name__}")
        masks.check_fit({name: p.shape for name, p in net.named_parameters()}, type(net).__name__, extra_allowed=True)
        return found[0]
    found = [prefix for prefix, _ in named if all(shapes.get(prefix + name) == m.shape for name, m in masks.items())]
    if not found:
        masks.check_fit(shapes, type(module).__name__, extra_allowed=True)
    if len(found) > 1:
        raise ValueError(f"the masks fit several modules of {type(module).__name__}, {found}: say which by net=...")
    return found[0]


def _copies(trainer: Trainer, module: LightningModule) -> Iterator[nn.Module]:
    """Copies of the whole module that callbacks hold, such as the averages of Lightning's WeightAveraging."""
    for callback in trainer.callbacks:
        for value in vars(callback).values():
            inner = getattr(value, "module", value)  # torch's AveragedModel wraps the copy
            if isinstance(inner, type(module)) and inner is not module:
                yield inner
