"""A scheduler's wish that this run leaves: noted by a signal handler, obeyed where the state is whole."""

import signal
import threading
from typing import Any

SIGNALS = signal.SIGUSR1, signal.SIGUSR2  # schedulers send one of them ahead of a time limit or a preemption
AGAIN = 75  # exit code: the state is saved, run the same command again (sysexits' "temporary failure")
_noted: list[int] = []


def listen() -> None:
    """Note the signals from now on, instead of dying of them.

    Being the first to listen also keeps Lightning from its own answer on Slurm, which is to save inside the handler, at
    any step, and to requeue. Handlers belong to the main thread; elsewhere this does nothing.
    """
    if threading.current_thread() is threading.main_thread():
        for signum in SIGNALS:
            signal.signal(signum, _note)


def asked_to_leave() -> bool:
    """Whether a signal has come."""
    return bool(_noted)


def _note(signum: int, frame: Any) -> None:
    _noted.append(signum)
