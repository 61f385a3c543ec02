"""A saved ticket."""

import pytest


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "ticket.safetensors"
