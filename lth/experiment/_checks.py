"""What is refused before an experiment trains. Each check raises ValueError naming the value and what is valid."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from pytorch_lightning import Callback
from torch import nn

from lth.pruning import Masks
from lth.pruning.allocation import count_kept
from lth.pruning.prunable import batch_norms
from lth.pruning.standardised import standardised

_EXAMPLE = "partial(lth.callbacks.Regrow, every=100)"  # of an entry of `within`
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


def check_parts(criterion: Any, allocation: Any, within: Any) -> None:
    """Raise ValueError where arguments of `ScriptLevel.callbacks` cannot be called as they will be."""
    for name, given, example in (
        ("criterion", criterion, "criteria.snip"),
        ("allocation", allocation, "allocation.erk"),
    ):
        if not callable(given) and (name, given) != ("criterion", None):
            raise ValueError(f"{name}={given!r} is no function; give one such as lth.{example}")
    if not isinstance(within, list | tuple):
        raise ValueError(f"within={within!r} is no list; write within=[{_EXAMPLE}]")
    for number, build in enumerate(within):
        if isinstance(build, Callback) or not callable(build):
            raise ValueError(f"within[{number}]={build!r} is no function from a level to a callback; give {_EXAMPLE}")
        _check_takes_level(f"within[{number}]", build)


def _check_takes_level(name: str, build: Callable[..., Any]) -> None:
    of, given, options = _unwrapped(build)
    try:
        signature = inspect.signature(of)
    except (TypeError, ValueError):  # a function that is not written in Python need not say what it takes
        return
    try:
        signature.bind(*given, None, **options)
    except TypeError as error:
        takes = ", ".join(signature.parameters)
        raise ValueError(f"{name} cannot be called with a level: {function_name(build)}({takes}): {error}") from None


def _unwrapped(build: Callable[..., Any]) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """The function of a partial with its arguments; any other callable without arguments."""
    return (build.func, build.args, build.keywords) if isinstance(build, partial) else (build, (), {})


def function_name(build: Callable[..., Any]) -> str:
    """The name of a function, or of the function of a partial."""
    of = _unwrapped(build)[0]
    return getattr(of, "__name__", repr(of))
