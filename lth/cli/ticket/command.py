"""`lth ticket COMMAND`: show and compare tickets, create them, exchange them with other programs."""

import argparse
from collections.abc import Sequence

from lth.cli.errors import short_errors
from lth.cli.ticket import convert, create, show


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; `--help` of each lists its options.

    arguments: the command line; None = that of the process
    """
    parser = argparse.ArgumentParser(prog="lth ticket", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (show, create, convert):
        module.add_commands(commands)
    chosen = parser.parse_args(arguments)
    with short_errors():
        chosen.run(chosen)
