"""Fresh processes that need not import torch and Lightning again: forks of one that has done nothing else."""

import multiprocessing
import os
import random
import runpy
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait

from lth.training.signals import die_with_parent

# imports only: no thread, no device, no random draw; forks keep their server alive, so it must die by itself
PRELOADED = ("hydra_plugins.lth_launcher._die_with_parent", "lth.experiment.loop", "hydra", "matplotlib.figure")


def run_all(commands: Sequence[Sequence[str]], at_a_time: int, started: Callable[[int], None]) -> list[int]:
    """Run each `[python, script, *arguments]` in a fork of a server that has imported; returns their exit codes.

    An import costs some ten seconds of CPU, a fork milliseconds. started: told a command's position when it begins.
    Everything happens in the calling thread: `multiprocessing` reads an exit code wrongly when two threads look at it.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(list(PRELOADED))
    codes: dict[int, int] = {}
    running = {}
    for index, command in enumerate(commands):
        process = server.Process(target=_main, args=(list(command[1:]), dict(os.environ), os.getcwd()))
        started(index)
        process.start()
        running[process.sentinel] = index, process
        while len(running) >= at_a_time or (running and index == len(commands) - 1):
            for sentinel in wait(list(running)):
                assert isinstance(sentinel, int)  # `wait` can wait for connections too
                position, ended = running.pop(sentinel)
                ended.join()
                codes[position] = ended.exitcode or 0
    return [codes[index] for index in range(len(commands))]


def _main(arguments: list[str], environment: dict[str, str], cwd: str) -> None:
    die_with_parent()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    import numpy  # not at the top: Hydra imports this module to look for plugins
    import torch

    random.seed()  # what nobody seeds differs between processes; forks would all go on with the server's numbers
    numpy.random.seed()  # noqa: NPY002
    torch.seed()
    sys.argv = arguments
    sys.path[0] = os.path.dirname(arguments[0])
    runpy.run_path(arguments[0], run_name="__main__")
