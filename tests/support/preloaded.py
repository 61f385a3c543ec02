"""A replacement of `python` for tests that run many commands: its processes start with torch and lth imported."""

import json
import os
import runpy
import signal
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import context
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from hydra.core.global_hydra import GlobalHydra

from tests.support.harness import forks

CLIENT = """#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
said = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(said).to_bytes(8, "big")], [0, 1, 2])
server.sendall(said)
sys.exit(int(server.recv(8) or b"1"))
"""


class _Job(context.ForkProcess):
    """A job of a sweep, in a fork of the process that planned the sweep."""

    def run(self) -> None:
        """Run the job as in a process in which Hydra has not started."""
        GlobalHydra.instance().clear()
        super().run()


class _PlainForks(context.ForkContext):
    """Replaces the fork server of a sweep, which would import in a new process what this process has imported."""

    Process = _Job

    def set_forkserver_preload(self, modules: list[str]) -> None:
        """Do nothing: a fork of this process has these modules."""


@contextmanager
def preloaded_python() -> Iterator[Path]:
    """Yield an executable that behaves like `python -m NAME ...`, `python SCRIPT ...` and `python -c CODE ...`.

    Each call runs in a fork of a server process, because imports take seconds of CPU in a new process. The fork gets
    the caller's arguments, working directory, environment and standard streams, and is killed if the caller ends.
    Warnings are hidden.
    """
    with TemporaryDirectory() as folder:
        address, client = f"{folder}/socket", Path(folder) / "python"
        client.write_text(CLIENT.format(python=sys.executable, address=address))
        client.chmod(0o755)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(address)
        listening.listen()
        server = forks().Process(target=_serve, args=(listening,))
        server.start()
        listening.close()
        try:
            yield client
        finally:
            server.terminate()
            server.join()


def _serve(listening: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # copies are not waited for here
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            _answer(connection)
        connection.close()


def _answer(connection: socket.socket) -> None:
    """Run a client's command in a new process, send the exit code to the client, and end this process."""
    head, files, _, _ = socket.recv_fds(connection, 8, 3)
    size, said = int.from_bytes(head, "big"), b""
    while len(said) < size:
        said += connection.recv(size - len(said))
    arguments, cwd, environment = json.loads(said)
    copy = forks().Process(target=_run, args=(arguments, cwd, environment, files))
    copy.start()
    for file in files:
        os.close(file)
    if copy.sentinel not in wait([copy.sentinel, connection]):  # the client has gone
        copy.kill()
    copy.join()
    code = copy.exitcode or 0
    with suppress(OSError):
        connection.send(str(code if code >= 0 else 128 - code).encode())
    os._exit(0)


def _run(arguments: list[str], cwd: str, environment: dict[str, str], files: list[int]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    warnings.resetwarnings()  # removes the filters of the test
    warnings.simplefilter("ignore")  # pages are run with PYTHONWARNINGS=ignore
    torch.seed()
    run_command(arguments, cwd, dict(enumerate(files)))


def run_command(arguments: list[str], cwd: str, files: dict[int, int]) -> None:
    """Do what `python -m NAME ...`, `python -c CODE ...` or `python SCRIPT ...` does, in a forked process.

    arguments: those after `python`
    files: the file descriptor that replaces each standard one
    """
    for number, file in files.items():
        os.dup2(file, number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    if 0 in files:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)  # multiprocessing has replaced it
    os.chdir(cwd)
    context._concrete_contexts["forkserver"] = _PlainForks()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    first, *rest = arguments
    if first == "-m":
        sys.argv = rest
        sys.path.insert(0, cwd)
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path.insert(0, "")
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = arguments
        sys.path.insert(0, os.path.dirname(os.path.abspath(first)))
        runpy.run_path(first, run_name="__main__")
