"""What a fast test may not do: train or start a process, which takes over a second of imports and set-up."""

fast = False  # whether the running test is neither `slow` nor `engine`; set by tests/conftest.py


def check_not_fast() -> None:
    """Fail where a test that trains or starts a process is not marked."""
    assert not fast, "this test trains or starts a process: mark it with pytest.mark.slow"
