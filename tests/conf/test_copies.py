"""No group of `conf/` consists of copies: what several options share stands in one file, a Hydra default.

The measure: a line counts as copied when it lies in a block of four or more consecutive lines that stands in another
file of the same group too. Comments and empty lines do not count; files in subfolders belong to the group.
"""

from collections import defaultdict
from pathlib import Path

import pytest

from tests.support.harness import CONF

BLOCK = 4  # consecutive lines
LIMIT = 0.1  # fraction of a group's lines
GROUPS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())


def lines(file: Path) -> list[str]:
    """The lines of a file without comments and empty lines."""
    kept = (line.split(" #")[0].rstrip() for line in file.read_text().splitlines() if not line.lstrip().startswith("#"))
    return [line for line in kept if line]


def copied(group: str) -> float:
    """The fraction of a group's lines that are copied, 0..1."""
    files = {file: lines(file) for file in (CONF / group).rglob("*.yaml")}
    owners = defaultdict(set)
    for file, text in files.items():
        for start in range(len(text) - BLOCK + 1):
            owners[tuple(text[start : start + BLOCK])].add(file)
    count = 0
    for text in files.values():
        starts = [n for n in range(len(text) - BLOCK + 1) if len(owners[tuple(text[n : n + BLOCK])]) > 1]
        count += len({n + offset for n in starts for offset in range(BLOCK)})
    return count / sum(map(len, files.values()))


@pytest.mark.parametrize("group", GROUPS)
def test_less_than_a_tenth_of_a_group_is_copied(group: str):
    assert copied(group) < LIMIT
