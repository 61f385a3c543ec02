"""Runs the optimizer steps of an epoch in one Python loop that calls only hooks that are defined.

Between two steps Lightning looks up some thirty hooks of the module, of every callback, of the strategy and of the
precision plugin. A step of a small network takes less time than that. `_StepLoop` looks them up once per epoch.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import unwrap
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.core.hooks import DataHooks, ModelHooks
from pytorch_lightning.loops.fetchers import _PrefetchDataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.utilities.types import STEP_OUTPUT
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

_TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
_STEP_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
Hook = Callable[..., Any]


def use_step_loop(trainer: Trainer) -> None:
    """Have `trainer` take its training steps in a `_StepLoop`."""
    given = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = _StepLoop(trainer, given.min_steps, given.max_steps)


class _StepLoop(_TrainingEpochLoop):
    """Lightning's loop over an epoch, in which one `advance` takes all steps up to the next validation.

    Batches, arithmetic, hooks and counters are those of Lightning, in its order, so that the results are equal to the
    last bit. Lightning's own loop takes one step at a time if a step is more than one forward and backward pass on
    one device (accumulation, several ranks, a gradient scaler, manual optimization), and if a module or callback from
    outside lth has hooks in a step, which may log. Such a callback can declare `logs_in_steps = False`.
    """

    def advance(self, data_fetcher: Any) -> None:
        """Take the steps up to the next validation. Raises StopIteration where the loader has no more batches."""
        if self.restarting or not self._applies(data_fetcher):
            super().advance(data_fetcher)
        else:
            with _plain_step(self.trainer.optimizers[0]):
                self._take_steps(data_fetcher)

    def _applies(self, data_fetcher: Any) -> bool:
        trainer, module, data = self.trainer, self.trainer.lightning_module, self.trainer.datamodule
        one_pass = module.automatic_optimization and trainer.accumulate_grad_batches == 1
        one_device = trainer.world_size == 1 and trainer.strategy.model is module
        known = all(_logs_nothing(each) or not _hooks([each]) for each in (module, *trainer.callbacks))
        return (
            one_pass
            and one_device
            and known
            and len(trainer.optimizers) == 1
            and not trainer.lr_scheduler_configs
            and getattr(trainer.precision_plugin, "scaler", None) is None
            and isinstance(trainer.profiler, PassThroughProfiler)
            and isinstance(data_fetcher, _PrefetchDataFetcher)
            and not any(_overrides(each, name, DataHooks) for each in (module, data) for name in _TRANSFER_HOOKS)
        )

    def _take_steps(self, data_fetcher: Any) -> None:
        trainer, module = self.trainer, self.trainer.lightning_module
        step, optimizer = _Step(trainer), trainer.optimizers[0]
        progress, epoch = self.batch_progress, trainer.current_epoch
        stepped, on_cpu = self.automatic_optimization.optim_progress.optimizer.step, module.device.type == "cpu"
        while True:
            batch, _, _ = next(data_fetcher)
            index = self.batch_idx + 1
            progress.is_last_batch = data_fetcher.done
            batch = trainer.precision_plugin.convert_input(batch)
            if not on_cpu:
                batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
            progress.increment_ready()
            step.begin(batch, index)
            progress.increment_started()
            stepped.increment_ready()
            module.optimizer_step(epoch, index, optimizer, step)
            stepped.increment_completed()
            progress.increment_processed()
            step.end()
            progress.increment_completed()
            if self._stops_after(index, data_fetcher):
                return
            self._batches_that_stepped += 1  # Lightning counts the last one

    def _stops_after(self, index: int, data_fetcher: Any) -> bool:
        trainer = self.trainer
        if data_fetcher.done or trainer.should_stop or self._num_ready_batches_reached():
            return True
        at_end = self.max_steps != -1 and self.global_step >= self.max_steps
        return at_end or (index + 1) % trainer.val_check_batch == 0


class _Step:
    """The forward and backward pass of one step, as the closure that an optimizer calls.

    trainer: the Trainer whose hooks are looked up at construction
    """

    def __init__(self, trainer: Trainer):
        self._trainer, self._module, self._optimizer = trainer, trainer.lightning_module, trainer.optimizers[0]
        self._plugin = trainer.precision_plugin
        self._plain = type(self._plugin) is Precision  # its context does nothing
        self._hooks = _bound(trainer)
        self._zeroed = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.zero_grad
        self._clip = trainer.gradient_clip_val
        self._zeroes_as_torch = type(self._optimizer).zero_grad is torch.optim.Optimizer.zero_grad
        self._batch, self._index, self._loss = None, 0, torch.empty(0)

    def begin(self, batch: Any, index: int) -> None:
        """Start the step of a batch."""
        self._batch, self._index = batch, index
        for hook in self._hooks["on_train_batch_start"]:
            hook(batch, index)

    def __call__(self) -> torch.Tensor:
        loss = self._forward()
        self._zeroed.increment_ready()
        self._call("on_before_zero_grad", self._optimizer)
        self._zeroed.increment_started()
        self._zero_gradients()
        self._zeroed.increment_completed()
        self._call("on_before_backward", loss)
        loss.backward()
        self._call("on_after_backward")
        self._call("on_before_optimizer_step", self._optimizer)
        if self._clip:
            self._module.configure_gradient_clipping(
                self._optimizer, self._clip, gradient_clip_algorithm=self._trainer.gradient_clip_algorithm
            )
        self._loss = loss.detach()
        return self._loss

    def end(self) -> None:
        """End the step."""
        outputs: STEP_OUTPUT = {"loss": self._loss}
        for hook in self._hooks["on_train_batch_end"]:
            hook(outputs, self._batch, self._index)

    def _forward(self) -> torch.Tensor:
        if self._plain:
            return self._module.training_step(self._batch, self._index)
        with self._plugin.train_step_context():
            return self._module.training_step(self._batch, self._index)

    def _zero_gradients(self) -> None:
        """Set all gradients to None, as `Optimizer.zero_grad` does, without its record for torch's profiler."""
        if not self._zeroes_as_torch:
            self._optimizer.zero_grad()
            return
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def _call(self, name: str, *arguments: Any) -> None:
        for hook in self._hooks[name]:
            hook(*arguments)


@contextmanager
def _plain_step(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Within the context, call `optimizer.step` without the wrapper that torch puts around it.

    The wrapper records the step for torch's profiler and runs its hooks; with small tensors it takes a quarter of the
    time. An optimizer keeps it if it is not torch's own, has hooks, or is differentiable.
    """
    hooks = optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks
    hooked = any((*hooks, _global_optimizer_pre_hooks, _global_optimizer_post_hooks))
    of_torch = type(optimizer).__module__.startswith("torch.optim.") and "step" not in vars(optimizer)
    if hooked or not of_torch or optimizer.defaults.get("differentiable"):
        yield
        return
    optimizer.step = partial(torch.no_grad()(unwrap(type(optimizer).step)), optimizer)
    try:
        yield
    finally:
        del optimizer.step


def _bound(trainer: Trainer) -> dict[str, list[Hook]]:
    """Name -> the hooks that are defined, callbacks first, without the arguments trainer and module."""
    module = trainer.lightning_module

    def of_callback(hook: Hook) -> Hook:
        return lambda *arguments: hook(trainer, module, *arguments)

    found = {
        name: [of_callback(getattr(each, name)) for each in trainer.callbacks if _overrides(each, name, Callback)]
        for name in _STEP_HOOKS
    }
    for name in _STEP_HOOKS:
        found[name] += [getattr(module, name)] if _overrides(module, name, ModelHooks) else []
    return found


def _hooks(objects: Iterable[Any]) -> list[str]:
    """The hooks of a step that modules and callbacks define."""
    return [
        name
        for each in objects
        for name in _STEP_HOOKS
        if _overrides(each, name, ModelHooks if isinstance(each, LightningModule) else Callback)
    ]


def _overrides(thing: Any, name: str, base: type) -> bool:
    return thing is not None and getattr(type(thing), name, None) is not getattr(base, name)


def _logs_nothing(thing: Any) -> bool:
    """Whether the hooks of a module or callback do not call `log`: those of lth do not."""
    return type(thing).__module__.partition(".")[0] == "lth" or getattr(thing, "logs_in_steps", True) is False
