"""The faults that the suite must notice, one change of one line each."""

from pathlib import Path
from typing import NamedTuple

import yaml


class Fault(NamedTuple):
    """One change of the code.

    name: what the code then does wrong
    file: path in the repository
    old, new: every occurrence of `old` becomes `new`
    tests: files or folders, separated by spaces, one of whose tests must fail
    """

    name: str
    file: str
    old: str
    new: str
    tests: str


FAULTS = [Fault(**fault) for fault in yaml.safe_load(Path(__file__).with_name("faults.yaml").read_text())]
