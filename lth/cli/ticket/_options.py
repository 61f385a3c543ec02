"""Options that several commands of `lth ticket` share."""

import argparse
from collections.abc import Callable
from pathlib import Path

Commands = argparse._SubParsersAction


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], None], text: str
) -> argparse.ArgumentParser:
    """Add the command `name`, which calls `run` with its options; returns its parser.

    text: one line of help
    """
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run=run)
    return command


def add_network(command: argparse.ArgumentParser) -> None:
    """Add --network, for files that do not name their network."""
    text = "YAML of the network: a run's config.yaml, or _target_ and options"
    command.add_argument("--network", type=Path, metavar="FILE", help=text)


def add_out(command: argparse.ArgumentParser, text: str = "the ticket file to write") -> None:
    """Add --out for the one file that a command makes."""
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help=text)


def add_tables(command: argparse.ArgumentParser, name: str) -> None:
    """Add --out for the folder of a table."""
    command.add_argument("--out", type=Path, metavar="FOLDER", help=f"folder for {name} (default: it is not written)")


def add_prefix(command: argparse.ArgumentParser) -> None:
    """Add --prefix, for checkpoints that hold more than the network."""
    command.add_argument("--prefix", help="prefix of the network's names in the checkpoint, e.g. backbone.")
