"""Parameter names of the plain network: wrappers add parts to every key of a state dict."""

from collections.abc import Mapping
from typing import TypeVar

WRAPPERS = ("module", "_orig_mod")  # of DataParallel and DDP, of torch.compile; removed at any place in a name
HOLDERS = ("net.", "model.", "network.")  # attributes under which training code keeps the network
Value = TypeVar("Value")


def plain(state: Mapping[str, Value]) -> dict[str, Value]:
    """The values under names without the parts that wrappers add. Raises ValueError if two names become equal."""
    names = [".".join(part for part in name.split(".") if part not in WRAPPERS) for name in state]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"these names occur twice, with and without a wrapper's prefix: {twice}")
    return dict(zip(names, state.values(), strict=True))


def unheld(state: Mapping[str, Value], prefix: str | None = None) -> dict[str, Value]:
    """The values whose names begin with `prefix`, without it.

    prefix: None removes `net.`, `model.` or `network.` if all names begin with it

    Raises ValueError if no name begins with `prefix`.
    """
    if prefix is not None:
        found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if not found:
            raise ValueError(f"no name begins with prefix={prefix!r}; the first are {list(state)[:5]}")
        return found
    for holder in HOLDERS:
        if state and all(name.startswith(holder) for name in state):
            return unheld(state, holder)
    return dict(state)
