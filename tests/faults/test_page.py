"""The page on reliability names tests that there are."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_every_test_that_the_page_names_exists():
    page = (TESTS.parent / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(\w[\w/]*\.py)::(\w+)`", page)
    assert len(named) > 40
    assert [name for name in named if f"\ndef {name[1]}(" not in (TESTS / name[0]).read_text()] == []
