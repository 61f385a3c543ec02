"""Two tests run at a time on two cores, so each keeps to one thread."""

import ctypes
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # on a CUDA device products repeat to the bit


def pytest_runtest_teardown() -> None:
    """Give freed memory back: glibc keeps what hundreds of networks of all sizes left, up to 12 GB a worker."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
