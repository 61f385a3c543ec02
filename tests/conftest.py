"""The tiers of the tests, and what all of them need.

Three tiers: fast tests (unmarked) for `make check`, `slow` ones for `make test`, `engine` ones for `.ci/run`. A test
that trains or starts a process takes over a second, mostly of imports and set-up, and is slow without being marked.
"""

import ctypes
import inspect
import os
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one test process a core
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # on a CUDA device products repeat to the bit


# what a slow test calls, itself or through a function of its module or a fixture
_STARTS = {"train", "train_apart", "train_on_ranks", "train_all_on_ranks", "run_level", "sweep", "lightning_step"}
_STARTS |= {"subprocess", "multiprocessing", "run_py", "lth", "python_m"}
_LIBC, _TESTS = ctypes.CDLL(None), count()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--skipped-to", type=Path, help="write the ids of skipped tests and modules to this file")
    parser.addoption("--engines-and", type=Path, help="run the tests marked `engine` and those whose ids this file has")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--skipped-to")
    if path and not hasattr(config, "workerinput"):
        path.write_text("")
        config.pluginmanager.register(_WriteSkipped(path.resolve()))


@pytest.hookimpl(tryfirst=True)  # before pytest selects by -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if not (item.get_closest_marker("slow") or item.get_closest_marker("engine")) and _starts_training(item):
            item.add_marker(pytest.mark.slow)
    path = config.getoption("--engines-and")
    if not path:
        return
    skipped = set(path.read_text().splitlines() if path.exists() else [])
    chosen = [item for item in items if item.get_closest_marker("engine") or _ids(item.nodeid) & skipped]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
    items[:] = chosen


def pytest_runtest_teardown() -> None:
    """Give freed memory back now and then: glibc keeps what networks of all sizes left, up to 12 GB a worker."""
    if next(_TESTS) % 50 == 0 and hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)


def _starts_training(item: Any) -> bool:
    fixtures = (item._fixtureinfo.name2fixturedefs.get(name, ()) for name in item._fixtureinfo.names_closure)
    functions = [item.function, *(fixture.func for several in fixtures for fixture in several)]
    return any(_reaches_start(function) for function in functions)


@cache
def _reaches_start(function: Callable[..., Any]) -> bool:
    """Whether a function, or one of its module that it names, names one of _STARTS."""
    todo, seen = [inspect.unwrap(function)], set[Any]()
    while todo:
        current = todo.pop()
        code = getattr(current, "__code__", None)
        if code is None or current in seen:
            continue
        seen.add(current)
        names = _names(code)
        if any(name in current.__globals__ for name in names & _STARTS):  # not a method: `net.train()`
            return True
        module = [current.__globals__.get(name) for name in names]
        todo += [f for f in module if isinstance(f, FunctionType) and f.__module__ == current.__module__]
    return False


def _names(code: CodeType) -> set[str]:
    """The global names and attributes that a function uses, those of functions inside it included."""
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)


class _WriteSkipped:
    """Writes the ids of skipped tests, and of modules that were skipped as a whole, one a line."""

    def __init__(self, path: Path):
        self.path, self.seen = path, set[str]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and report.nodeid not in self.seen:
            self.seen.add(report.nodeid)
            with self.path.open("a") as file:
                file.write(report.nodeid + "\n")


def _ids(nodeid: str) -> set[str]:
    """A test's own id and that of its module."""
    return {nodeid, nodeid.partition("::")[0]}
