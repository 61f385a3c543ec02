"""What a command prints into a terminal of a given width."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
from pathlib import Path

from tests.support.commands import run_in_process
from tests.support.harness import forks
from tests.support.tiers import check_not_fast

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x07")


def screen(width: int, *arguments: str, cwd: Path, interrupt_at: str | None = None) -> tuple[int, str]:
    """`lth ...` in a terminal of `width` columns: its exit code, and all that it has printed, with control characters.

    interrupt_at: printed text at which the command gets a Ctrl-C
    """
    check_not_fast()
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    name = os.ttyname(slave)
    process = forks().Process(target=_run_in_terminal, args=(arguments, str(cwd), name))
    process.start()
    printed = ""
    while True:
        if process.exitcode is not None and not _readable(master):
            break
        if _readable(master):
            printed += os.read(master, 65536).decode(errors="replace")
        if interrupt_at and interrupt_at in plain(printed):
            os.kill(process.pid or 0, signal.SIGINT)
            interrupt_at = None
    os.close(slave)
    os.close(master)
    process.join()
    return process.exitcode or 0, printed


def _run_in_terminal(arguments: tuple[str, ...], cwd: str, name: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    os.environ["TERM"] = "xterm"  # Rich does not ask a terminal named dumb for its width
    for variable in ("COLUMNS", "LINES", "NO_COLOR"):
        os.environ.pop(variable, None)
    run_in_process("lth", arguments, cwd, name, name)


def plain(printed: str) -> str:
    """Text without control characters; each redrawing of a line is a line of its own."""
    return _CONTROL.sub("", printed).replace("\r\n", "\n").replace("\r", "\n")


def _readable(file: int) -> bool:
    return bool(select.select([file], [], [], 0.1)[0])
