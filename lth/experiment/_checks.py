"""What is refused before an experiment trains. Each check raises ValueError naming the value and what is valid."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning import Callback
from torch import nn

from lth.pruning import Masks
from lth.pruning.allocation import count_kept
from lth.pruning.criterion import ALLOCATION_TAKES, CRITERION_TAKES, check_takes
from lth.pruning.prunable import batch_norms
from lth.pruning.standardised import standardised

_OF_DATASET = ("classes", "channels", "image_size", "batch_size", "seed", "augment")
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


def check_densities(densities: Sequence[float], total: int) -> None:
    """Refuse densities at which none of the `total` prunable weights is kept."""
    for density in densities:
        if count_kept(density, total) == 0:
            raise ValueError(f"density {density} keeps none of the {total} prunable weights")


def check_pruned_stay_zero(net: nn.Module, masks: Masks, image_shape: tuple[int, int, int]) -> None:
    """Refuse a network whose pruned weights would not act as zeros, such as one with weight standardisation."""
    names = standardised(net, masks, image_shape)
    if names:
        raise ValueError(
            f"this network transforms {len(names)} of its {len(masks)} prunable weights before it multiplies by them "
            f"(weight standardisation, for example), so that pruned ones would not be zero: {', '.join(names[:3])}, "
            "... Take a network without such a transformation, or leave those weights dense: prunable.exclude=[...]"
        )


def check_settings(names: Mapping[str, Any], seed: Any, settings: Mapping[str, Any]) -> None:
    """Raise ValueError for arguments of `lth.levels` that cannot be stored as they are."""
    for name, value in names.items():
        if not isinstance(value, str):
            raise ValueError(f"{name}={value!r} must be text")
    if not isinstance(seed, int):
        raise ValueError(f"seed={seed!r} must be a whole number")
    for name, value in settings.items():
        try:
            json.dumps({name: value})
        except (TypeError, ValueError):
            raise ValueError(f"settings: {name}={value!r} must be a number, text, or lists or dicts of them") from None


def check_parts(criterion: Any, allocation: Any, within: Any) -> None:
    """Raise ValueError where arguments of `ScriptLevel.callbacks` cannot be called as they will be."""
    if criterion is not None:
        check_takes("criterion", criterion, CRITERION_TAKES)
    check_takes("allocation", allocation, ALLOCATION_TAKES)
    example = "such as within=[partial(lth.callbacks.Regrow, every=100)]"
    if not isinstance(within, list | tuple):
        raise ValueError(f"within={within!r} must be a list of functions from a level to a callback, {example}")
    for number, build in enumerate(within):
        if isinstance(build, Callback):
            raise ValueError(f"within[{number}] is a callback; it must be a function from a level to one, {example}")
        check_takes(f"within[{number}]", build, ("level",))
