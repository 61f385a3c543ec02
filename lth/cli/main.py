"""The command `lth`: chooses a subcommand and hands it the rest of the command line."""

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from lth.cli._errors import nearest
from lth.cli._own_parts import import_from_here

# subcommand -> (module with its `main`, one line of help)
COMMANDS = {
    "run": ("lth.cli.run", "train an experiment level by level: method=imp model=resnet20 dataset=cifar10"),
    "help": ("lth.cli._help", "groups, options and keys of an experiment: lth help method=rigl"),
    "report": ("lth.cli._report", "tables, pictures and one HTML page of many runs"),
    "ticket": ("lth.cli.ticket.command", "show, compare, treat, apply, extract, import, export and thin ticket files"),
    "summary": ("lth.cli._summary", "sparsity and multiply-adds of each layer of a level, a ticket or a network"),
    "sensitivity": ("lth.cli._sensitivity", "accuracy when one weight tensor at a time is pruned, without training"),
    "connectivity": ("lth.cli._connectivity", "loss and accuracy on the line between successive levels"),
    "verdict": ("lth.cli._verdict", "whether a winning ticket beats its controls: runs of method=sanity"),
    "completion": ("lth.cli._completion", 'TAB completion in bash and zsh: eval "$(lth completion bash)"'),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the subcommand that the first argument names. Its module is imported only now, so `--help` is quick.

    arguments: the command line after `lth`; None = that of the process
    """
    name, *rest = [*(sys.argv[1:] if arguments is None else arguments), ""]
    if name in ("", "-h", "--help"):
        print(_help())
        return
    if name not in COMMANDS:
        sys.exit(f"error: there is no command {name!r}{nearest(name, list(COMMANDS))}; `lth --help` lists all")
    import_from_here()
    try:
        import_module(COMMANDS[name][0]).main(rest[:-1])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _help() -> str:
    lines = [f"  {name:<14}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: lth COMMAND ...",
            "",
            "Trains lottery-ticket and pruning methods under the same conditions, and compares their results.",
            "",
            "commands:",
            *lines,
            "",
            "lth COMMAND --help   the options of a command",
            "lth help             groups and keys of `lth run`; lth help method lists the methods",
            "",
            "Documentation: README.md and docs/ of the source; results lie in runs/ of the current folder.",
        ]
    )
