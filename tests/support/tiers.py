"""What a fast test may not do: train or start a process, which takes over a second of imports and set-up."""

from collections.abc import Iterable
from typing import Any

import pytest

fast = False  # whether the running test is neither `slow` nor `engine`; set by tests/conftest.py


def check_not_fast() -> None:
    """Fail where a test that trains or starts a process is not marked."""
    assert not fast, "this test trains or starts a process: mark it with pytest.mark.slow"


def engine_but(values: Iterable[str], *kept: str) -> list[Any]:
    """Parameters of a test: those named as they are, the others of the tier `engine`."""
    return [value if value in kept else pytest.param(value, marks=pytest.mark.engine) for value in values]
