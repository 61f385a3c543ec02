"""Checks of what a script gives to `lth.levels` and its levels. Each raises ValueError naming the argument."""

import json
from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback

from lth.experiment._finished_levels import KEEP_OPTIONS
from lth.pruning.criterion import ALLOCATION_TAKES, CRITERION_TAKES, check_takes


def check_settings(names: Mapping[str, Any], seed: Any, settings: Mapping[str, Any], keep: Any) -> None:
    """Raise ValueError for an unknown `keep`, and for other arguments of `lth.levels` that cannot be stored as JSON."""
    if keep not in KEEP_OPTIONS:
        raise ValueError(f"keep={keep!r} is not one of {KEEP_OPTIONS}")
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
