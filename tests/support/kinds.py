"""Kinds of methods: methods of one kind instantiate the same classes with the same switches.

Errors of resuming and distributing are in the state of objects and in branches on switches, so tests of one method of
each kind find them. The other methods differ in numbers and in functions without state (criteria, allocations, initial
weights); `.ci/run` resumes them too.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from hydra.utils import get_object
from omegaconf import OmegaConf

from tests.support.harness import configuration, names

Kind = frozenset[str]
# Written down because composing all methods takes too long to be done whenever tests are collected; test_kinds.py shows
# that each kind has one.
REPRESENTATIVES = (
    *("agp", "gmp", "snip", "imp", "fine_tune", "lrr", "wr", "retrain", "sanity", "sculpting"),
    *("rigl", "set", "dst", "snfs", "granet", "str", "str_gradual", "slimming", "filters", "surgery"),
    *("edge_popup", "er_edge_popup", "global_edge_popup", "global_edge_popup_iterative"),
    *("gem_miner", "warm_gem_miner", "hypercube"),
)


def classes(value: Any, where: str = "") -> Iterator[str]:
    """Every class that a configuration instantiates, with its switches: values that are neither numbers nor parts."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return
    target = value.get("_target_", "")
    if target and (where == "plan" or isinstance(get_object(target), type)):
        switches = {k: _without_numbers(v) for k, v in value.items() if not k.startswith("_") and _plain(v)}
        yield " ".join([target.rpartition(".")[2], *(f"{k}={v}" for k, v in sorted(switches.items()))])
    for key, part in value.items():
        yield from classes(part, str(key))


@cache
def kind(method: str) -> Kind:
    """The classes of module, callbacks and their parts that the stages of `method` instantiate, and its plan.

    Parts that are functions (criteria, allocations, initial weights) keep no state and are left out.
    """
    composed = configuration("none", f"method={method}", "ticket=none").method
    config: Any = OmegaConf.to_container(composed, resolve=True)
    return frozenset(classes({"plan": config["plan"], "stages": config["stages"]}))


@cache
def kinds() -> dict[Kind, list[str]]:
    """All kinds and their methods, by globbing `conf/method`."""
    found: dict[Kind, list[str]] = {}
    for method in names("method"):
        found.setdefault(kind(method), []).append(method)
    return found


def _plain(value: Any) -> bool:
    return not isinstance(value, dict | list)


def _without_numbers(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if number else str(value)
