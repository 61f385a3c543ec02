"""Checks of network options: each raises ValueError with the value and the valid ones."""

from collections.abc import Iterable
from difflib import get_close_matches


def refuse_unknown(what: str, value: object, valid: Iterable[str]) -> None:
    """Raise unless `value` is in `valid`. If there are more than 12 names, only the nearest are shown."""
    names = list(valid)
    if value in names:
        return
    shown = names if len(names) <= 12 else get_close_matches(str(value), names, n=8, cutoff=0.3)
    raise ValueError(f"{what}={value!r} is unknown; valid: {', '.join(shown) or f'{len(names)} names, none similar'}")


def refuse_small(network: str, image_size: int, smallest: int) -> None:
    """Raise if images are smaller than `smallest` pixels: pooling and strides would leave no pixel."""
    if image_size < smallest:
        raise ValueError(f"image_size={image_size} is too small for {network}; valid: {smallest} pixels or more")


def refuse_depth(network: str, depth: int, blocks: int, rest: int) -> None:
    """Raise unless `depth` = `rest` + n * `blocks` layers for an n of 1 or more."""
    if depth <= rest or (depth - rest) % blocks:
        valid = ", ".join(str(rest + blocks * n) for n in range(1, 5))
        raise ValueError(f"depth={depth} is not a {network}; valid: {blocks}n + {rest}, e.g. {valid}")
