"""A mark for tests of `compile=true`: torch's compiler writes C++ for the CPU and calls a compiler for it."""

import os
import shutil

import pytest

NEEDS_COMPILER = pytest.mark.skipif(
    not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++")),
    reason="torch.compile needs a C++ compiler: install g++",
)
