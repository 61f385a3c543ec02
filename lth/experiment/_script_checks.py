"""Checks of what a script gives to `ScriptLevel.callbacks`. Each raises ValueError naming the argument."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from pytorch_lightning import Callback

_EXAMPLE = "partial(lth.callbacks.Regrow, every=100)"  # of an entry of `within`


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
