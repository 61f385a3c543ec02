"""`lth ticket COMMAND`: show and compare tickets, create them, exchange them with other programs."""

import argparse
from collections.abc import Sequence

from lth.cli._errors import short_errors
from lth.cli.ticket import _convert, _create, _show


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; `--help` of each lists its options.

    arguments: the command line; None = that of the process
    """
    parser = argparse.ArgumentParser(prog="lth ticket", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (_show, _create, _convert):
        module.add_commands(commands)
    chosen = parser.parse_args(arguments)
    with short_errors():
        chosen.run(chosen)
