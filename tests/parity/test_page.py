"""docs/fidelity.md names tests that exist."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent


@pytest.mark.slow
def test_every_test_that_the_page_names_is_defined():
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (TESTS.parent / "docs" / "fidelity.md").read_text())
    assert len(named) > 40
    for file, test in named:
        defined = {
            node.name for node in ast.parse((TESTS / file).read_text()).body if isinstance(node, ast.FunctionDef)
        }
        assert test in defined, f"{file}::{test}"
