"""Checks before an experiment trains. Each raises ValueError naming the value and what is valid."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from inspect import signature
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from lth.datamodules.dataset import Dataset
from lth.experiment._standardised import standardised
from lth.pruning import Masks
from lth.pruning.allocation import count_kept
from lth.pruning.prunable import batch_norms, names_matching, reparametrised
from lth.pruning.restore import preserved

_OF_DATASET = ("classes", "channels", "image_size", "batch_size", "seed", "augment")
_UNDO = {  # how a weight is computed from other parameters -> how to undo it
    "torch.nn.utils.prune": "call torch.nn.utils.prune.remove, take its masks by `lth ticket import`",
    "weight norm": "call torch.nn.utils.remove_weight_norm",
    "WeightNorm": "call torch.nn.utils.parametrize.remove_parametrizations",
}
_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "64-true")


def check_precision(precision: str, accelerator: str) -> None:
    """Refuse a precision that the device lacks; Lightning would warn and use another."""
    if precision not in _PRECISIONS:
        raise ValueError(f"recipe.precision {precision!r} is not one of {_PRECISIONS}")
    cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())
    if precision == "16-mixed" and cpu:
        raise ValueError("recipe.precision=16-mixed needs a GPU; on the CPU use 32-true or bf16-mixed")
    if precision == "bf16-mixed" and not cpu and not torch.cuda.is_bf16_supported():
        raise ValueError("recipe.precision=bf16-mixed: this GPU lacks bfloat16; use 16-mixed or 32-true")


def check_sync_batchnorm(net: nn.Module, accelerator: str) -> None:
    """Refuse synchronised batch norm on CPUs, and for subclasses of batch norm.

    torch's conversion replaces a subclass by plain `SyncBatchNorm` and so loses what the subclass adds.
    """
    plain = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm
    norms = list(batch_norms(net).values())
    other = sorted({type(module).__name__ for module in norms} - {kind.__name__ for kind in plain})
    if norms and accelerator == "cpu":
        raise ValueError("trainer.sync_batchnorm=true works on GPUs only; CPU ranks keep their own statistics")
    if other:
        raise ValueError(f"trainer.sync_batchnorm=true would replace this network's {other} by plain batch norm")


def check_dataset(config: Mapping[str, Any]) -> None:
    """Refuse a data set's configuration without the keys that networks, recipe and seeds rely on."""
    missing = [key for key in _OF_DATASET if key not in config]
    if missing:
        raise ValueError(
            f"dataset ({config.get('_target_')}) has no key {', '.join(missing)}: begin its file with "
            "`defaults: [_arrays]` ([_images] for one that is not held in memory) and set classes, channels, image_size"
        )


def check_trainer(trainer: Mapping[str, Any]) -> None:
    """Refuse arguments that Lightning's Trainer does not take, and devices that this machine does not have.

    trainer: the configuration's entry `trainer`
    """
    known = signature(pl.Trainer).parameters
    for key in trainer:
        if key not in known and not key.startswith("_") and trainer.get("_target_") == "pytorch_lightning.Trainer":
            near = " or ".join(get_close_matches(key, known, n=2))
            raise ValueError(
                f"trainer.{key}: Trainer has no such argument" + (f"; did you mean {near}?" if near else "")
            )
    accelerator, devices = trainer.get("accelerator", "auto"), trainer.get("devices", "auto")
    if accelerator == "cpu" and devices != "auto" and not (isinstance(devices, int) and devices >= 1):
        raise ValueError(f"trainer.devices={devices}: must be a whole number of 1 or more, or auto, on the CPU")
    try:
        instantiate({**trainer, "limit_train_batches": None}, logger=False)  # that key is checked with the data
    except InstantiationException as error:
        given = f"accelerator={accelerator}, devices={devices}"
        raise ValueError(f"trainer ({given}): {_one_line(error.__cause__ or error)}") from error


def _ranks_of(trainer: Mapping[str, Any]) -> int:
    """The number of ranks that the configuration's entry `trainer` asks for."""
    devices = trainer.get("devices", "auto")
    if not isinstance(devices, int):
        here = 1 if devices == "auto" else len(devices)
    else:
        here = devices if devices > 0 else max(1, torch.cuda.device_count())
    return here * int(trainer.get("num_nodes", 1))


def check_module(module: Any, image_shape: tuple[int, int, int]) -> None:
    """Refuse arguments that the recipe's optimizer does not take, and networks that the module cannot train.

    module: a LightningModule of `lth.modules`
    image_shape: channels, height and width
    """
    if hasattr(module, "check_network"):
        module.check_network(image_shape)
    try:
        module.configure_optimizers()
    except Exception as error:
        raise ValueError(f"recipe.optimizer: {_one_line(error)}") from error


def check_outputs(net: nn.Module, image_shape: tuple[int, int, int], classes: int | None) -> None:
    """Refuse a network that does not map images to one logit per class, in training and in evaluation.

    net: called on blank images; its state is restored
    image_shape: channels, height and width
    classes: number of classes; None = the number of outputs is not checked
    """
    name = type(net).__name__
    for parameter, value in net.named_parameters():
        if isinstance(value, UninitializedParameter):
            raise ValueError(f"model: {parameter} of {name} has no shape before its first batch; give it its shape")
        if value.is_floating_point() and value.dtype != torch.float32:
            raise ValueError(
                f"model: {parameter} of {name} is {value.dtype}; lth trains networks of torch.float32, and "
                "recipe.precision=bf16-mixed or 16-mixed computes in half precision"
            )
    for training, count in ((True, 2), (False, 1)):
        when = "in training" if training else "in evaluation"
        try:
            output = _output(net, training, count, image_shape)
        except Exception as error:
            raise ValueError(
                f"model: {name} fails {when} on {count} images of shape {image_shape} "
                f"(dataset.channels, dataset.image_size): {_one_line(error)}"
            ) from error
        if not isinstance(output, Tensor):
            raise ValueError(f"model: {name} gives a {type(output).__name__} {when}; it must give the logits alone")
        expected = count, classes or output.shape[-1]
        if output.shape != expected:
            raise ValueError(
                f"model: {name} gives {tuple(output.shape)} {when} for {count} images, not {expected}: one logit for "
                "each class (dataset.classes)"
            )


def check_level(
    net: nn.Module,
    masks: Masks,
    initial_masks: Masks,
    callbacks: Sequence[Any],
    data: Dataset,
    image_shape: tuple[int, int, int],
) -> Masks:
    """Run the checks of a level's callbacks, which refuse impossible counts, tickets and rules.

    net, masks: network and masks of the level
    initial_masks: the masks with which the level begins, as far as counts are known
    callbacks: callbacks of the level
    data: the dataset, after `setup`
    image_shape: channels, height and width

    Returns the masks with which the level ends.
    """
    ends = initial_masks
    for callback in callbacks:
        if hasattr(callback, "check"):
            ends = callback.check(ends) or ends
        if hasattr(callback, "check_data"):
            callback.check_data(data)
        if hasattr(callback, "check_network"):
            callback.check_network(net, masks, image_shape)
    return ends


def check_last_batch(
    net: nn.Module, image_shape: tuple[int, int, int], data: Dataset, trainer: Mapping[str, Any], steps: int
) -> None:
    """Refuse batches of one sample on a rank for a network that cannot train on one, as batch norm cannot.

    net: called on a blank image; its state is restored
    image_shape: channels, height and width
    data: the dataset, after `setup`
    trainer: the configuration's entry `trainer`
    steps: number of batches of an epoch that are trained
    """
    ranks, samples, batch_size = _ranks_of(trainer), data.train_size, data.sampling.batch_size
    full, rest = divmod(samples, batch_size)
    sizes = [batch_size] * min(full, steps, 1) + ([rest] if steps > full and rest >= ranks else [])
    synchronised = ranks > 1 and trainer.get("sync_batchnorm")
    if synchronised or 1 not in [size // ranks for size in sizes]:
        return
    try:
        _output(net, True, 1, image_shape)
    except Exception as error:
        last = "a batch" if batch_size // ranks == 1 else "the last batch of an epoch"
        raise ValueError(
            f"recipe.batch_size={batch_size}: {last} of the {samples} training samples has one sample"
            + (f" on one of the {ranks} ranks" if ranks > 1 else "")
            + f", on which {type(net).__name__} cannot train ({_one_line(error)}); take another batch size"
            + ("" if batch_size // ranks == 1 else ", or leave that batch out: dataset.drop_last=true")
        ) from error


def check_densities(densities: Sequence[float], total: int) -> None:
    """Refuse densities at which none of the `total` prunable weights is kept."""
    for density in densities:
        if count_kept(density, total) == 0:
            raise ValueError(f"density {density} keeps none of the {total} prunable weights")


def check_covered(net: nn.Module, masks: Masks, exclude: Sequence[str]) -> None:
    """Refuse layers with a weight computed from other parameters, unless it is excluded or a mask covers one of these.

    exclude: the patterns of `prunable.exclude`
    """
    for name, how in reparametrised(net).items():
        layer, _, weight = name.rpartition(".")
        parts = (f"{name}_", f"{layer}.parametrizations.{weight}.".lstrip("."))  # prefixes of its parameters' names
        named = any(mask.startswith(parts) for mask in masks)
        if not named and not any(names_matching(pattern, [name]) for pattern in exclude if pattern[:1] != "@"):
            raise ValueError(
                f"{name} of this network is made by {how} from other parameters, so that no mask covers it: "
                f"{_UNDO.get(how, 'remove that from the network')}, name the parameters in prunable.include, or leave "
                f"the layer dense: prunable.exclude=[{layer or name}]"
            )


def check_pruned_stay_zero(net: nn.Module, masks: Masks, image_shape: tuple[int, int, int]) -> None:
    """Refuse a network whose pruned weights would not act as zeros, such as one with weight standardisation."""
    names = standardised(net, masks, image_shape)
    if names:
        raise ValueError(
            f"this network transforms {len(names)} of its {len(masks)} prunable weights before it multiplies by them "
            f"(weight standardisation, for example), so that pruned ones would not be zero: {', '.join(names[:3])}, "
            "... Take a network without such a transformation, or leave those weights dense: prunable.exclude=[...]"
        )


def _output(net: nn.Module, training: bool, count: int, image_shape: tuple[int, int, int]) -> Any:
    """The network's output for `count` blank images. Its buffers and the random state do not change."""
    with preserved(net), torch.no_grad():
        net.train(training)
        return net.forward(torch.zeros(count, *image_shape))  # not net(...), which might compile


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
