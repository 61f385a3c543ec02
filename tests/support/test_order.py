"""The order in which tests of engines are given to the workers of xdist."""

from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import longest_first

FILES = {
    "a/test_a.py": 5,
    "l/test_sweeps_ray.py": 3,
    "l/test_wheel.py": 7,
    "n/test_n.py": 40,
    "s/test_sweeps.py": 3,
    "z/test_ddp.py": 1,
}


def items() -> list[Any]:
    return [SimpleNamespace(path=Path(name), number=n) for name, count in FILES.items() for n in range(count)]


@pytest.mark.parametrize("workers", [1, 2, 3, 70])
def test_every_test_is_given_once(workers: int):
    ordered = longest_first(items(), workers)
    assert sorted(ordered, key=lambda i: (i.path, i.number)) == sorted(items(), key=lambda i: (i.path, i.number))


def test_two_workers_begin_with_what_starts_many_processes_and_the_third_with_long_files():
    ordered = longest_first(items(), 3)
    parts = ordered[:20], ordered[20:40], ordered[40:]
    files = [[name for name, _ in groupby(part, lambda item: item.path.name)] for part in parts]
    assert files[0][:2] == ["test_sweeps_ray.py", "test_wheel.py"]
    assert files[1][0] == "test_sweeps.py"
    assert files[2][0] == "test_ddp.py"
