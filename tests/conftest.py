"""The tiers of the tests, and what all of them need.

Three tiers: fast tests (unmarked) for `make check`, `slow` ones for `make test`, `engine` ones for `.ci/run`.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.support import tiers
from tests.support.extras import missing_extra

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one test process a core
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # on a CUDA device products repeat to the bit


# Files of tests of engines that start many processes, in two lists of about equal length. Two workers run them: more at
# a time overload two cores, and a node of Ray that does not start within half a minute is an error.
STARTING = (
    ("test_sweeps_ray.py", "test_wheel.py", "test_ranks_killed.py", "test_sweeps_optuna.py"),
    ("test_sweeps_slurm.py", "test_tutorials.py", "test_sweeps.py", "test_script_levels_ranks.py"),
)
# Other files of engine tests that take minutes. FFCV compiles its loaders in each process, so one worker has its files.
LONGEST = (
    "test_valid_commands.py",
    "test_documented_commands.py",
    "test_screens.py",
    "test_report_browser.py",
    "test_ddp.py",
    "test_imagenet.py",
    "test_write_beton.py",
    "test_photographs_in_training.py",
    "test_benchmarks.py",
)
_LIBC, _TESTS = ctypes.CDLL(None), count()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--skipped-to", type=Path, help="write the ids of skipped tests and modules to this file")
    parser.addoption("--engines-and", type=Path, help="run the tests marked `engine` and those whose ids this file has")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--skipped-to")
    if path and not hasattr(config, "workerinput"):
        path.write_text("")
        config.pluginmanager.register(_WriteSkipped(path.resolve()))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    path = config.getoption("--engines-and")
    if not path:
        return
    skipped = set(path.read_text().splitlines() if path.exists() else [])
    chosen = [item for item in items if item.get_closest_marker("engine") or _ids(item.nodeid) & skipped]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
    items[:] = longest_first(chosen, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def longest_first(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """The tests in an order in which the first workers begin with the files that take minutes.

    xdist gives each worker one part of the list, equal by number; a worker without tests takes half of another's rest.
    A test of ten minutes near the end of a part would leave the other workers idle.
    """
    first: list[list[pytest.Item]] = [[] for _ in range(workers)]
    for index, names in enumerate((*STARTING, LONGEST)):
        for name in names:
            first[index % workers] += [item for item in items if item.path.name == name]
    named = {name for names in (*STARTING, LONGEST) for name in names}
    rest = [item for item in items if item.path.name not in named]
    size = -(-len(items) // workers)
    ordered: list[pytest.Item] = []
    for begun in first:
        count = max(0, size - len(begun))
        ordered += begun + rest[:count]
        rest = rest[count:]
    return ordered + rest


@pytest.hookimpl(tryfirst=True)  # before fixtures, which may train
def pytest_runtest_setup(item: pytest.Item) -> None:
    tiers.fast = not (item.get_closest_marker("slow") or item.get_closest_marker("engine"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[Any]:
    with _skipped_without_extra():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Iterator[Any]:
    with _skipped_without_extra():
        return (yield)


@contextmanager
def _skipped_without_extra() -> Iterator[None]:
    """Skip a test that fails because an optional dependency is not installed."""
    try:
        yield
    except Exception as error:
        reason = missing_extra(error)
        if reason is None:
            raise
        pytest.skip(reason)


def pytest_runtest_teardown() -> None:
    """Return freed memory to the system after every 50th test: glibc otherwise keeps up to 12 GB a worker."""
    if next(_TESTS) % 50 == 0 and hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)


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
