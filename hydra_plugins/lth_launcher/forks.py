"""Runs commands in forks of a server process that has only imported torch and Lightning, which saves import time."""

import multiprocessing
import os
import random
import runpy
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from typing import Any

from lth.training.signals import die_with_parent

OUTPUT_FILE = "LTH_OUTPUT_FILE"  # environment variable: the file to which a fork writes its stdout and stderr
# These imports start no thread and touch no device or random state. Forks hold the server's pipe open, so the
# server would outlive a killed sweep; the first module makes it die with its parent.
PRELOADED = ("hydra_plugins.lth_launcher._die_with_parent", "lth.experiment.loop", "hydra", "matplotlib.figure")


def run_all(
    commands: Sequence[Sequence[str]],
    at_a_time: int,
    started: Callable[[int], Mapping[str, str] | None],
    ended: Callable[[int, int], object] = lambda index, code: None,
) -> list[int]:
    """Run each command in a fork of a server that has imported `PRELOADED`. Returns one exit code per command.

    commands: one per job: `[python, script, *arguments]` or `[python, "-m", module, *arguments]`
    at_a_time: number of commands that run at the same time
    started: called with the position of each command when it begins; returns further environment variables for it
    ended: called with the position of each command and its exit code when it ends

    An import costs some ten seconds of CPU, a fork milliseconds. All code runs in the calling thread, because
    `multiprocessing` misreads an exit code when two threads wait for it.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(list(PRELOADED))
    codes: dict[int, int] = {}
    running: dict[int, tuple[int, Any]] = {}
    try:
        for index, command in enumerate(commands):
            environment = {**os.environ, **(started(index) or {})}
            process = server.Process(target=_main, args=(list(command[1:]), environment, os.getcwd()))
            process.start()
            running[process.sentinel] = index, process
            while len(running) >= at_a_time or (running and index == len(commands) - 1):
                for sentinel in wait(list(running)):
                    assert isinstance(sentinel, int)  # `wait` can wait for connections too
                    position, finished = running.pop(sentinel)
                    finished.join()
                    codes[position] = finished.exitcode or 0
                    ended(position, codes[position])
    finally:
        stop_all([process for _, process in running.values()], _joined)
    return [codes[index] for index in range(len(commands))]


def stop_all(processes: Sequence[Any], ended: Callable[[Any, float], bool], patience: float = 10) -> None:
    """End the jobs that still run when a sweep is interrupted: SIGTERM, then SIGKILL.

    processes: running processes of multiprocessing or subprocess
    ended: waits for a process for some seconds, and returns whether it has ended
    patience: seconds between the two signals, in which a job completes the file that it writes
    """
    for process in processes:
        process.terminate()
    until = time.monotonic() + patience
    for process in processes:
        if not ended(process, max(until - time.monotonic(), 0)):
            process.kill()


def _joined(process: Any, seconds: float) -> bool:
    process.join(seconds)
    return process.exitcode is not None


def _main(arguments: list[str], environment: dict[str, str], cwd: str) -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores it
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    output = os.environ.pop(OUTPUT_FILE, None)
    if output:
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for standard in (1, 2):
            os.dup2(file, standard)
    import numpy  # not at the top: Hydra imports this module to look for plugins
    import torch

    random.seed()  # unseeded generators must differ between jobs; forks inherit the server's state
    numpy.random.seed()  # noqa: NPY002 - a user's own parts may draw from numpy's global state
    torch.seed()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path[0] = cwd
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path[0] = os.path.dirname(arguments[0])
        runpy.run_path(arguments[0], run_name="__main__")
