"""Signals to a run: a scheduler's wish to leave is obeyed where the state is whole, SIGTERM is obeyed at once.

Whatever is on disk is whole at every moment, so leaving at once loses no more than the time since the last checkpoint.
"""

import ctypes
import signal
import threading
from typing import Any

SIGNALS = signal.SIGUSR1, signal.SIGUSR2  # schedulers send one of them ahead of a time limit or a preemption
AGAIN = 75  # exit code: the state is saved, run the same command again (sysexits' "temporary failure")
TERMINATED = 128 + signal.SIGTERM  # exit code of a run that was told to stop
KILL_ME_TOO = 1, int(signal.SIGKILL)  # prctl(PR_SET_PDEATHSIG, ...)
_prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux only; looked up here, since a fork must not import
_noted: list[int] = []
_launchers: list[Any] = []  # Lightning's; one of them has started the other ranks, unless torchrun or Slurm did


def listen() -> None:
    """Note a scheduler's signals from now on, and leave at SIGTERM with exit code 143, other ranks included.

    Handlers belong to the main thread; elsewhere this does nothing.
    """
    if threading.current_thread() is threading.main_thread():
        for signum in SIGNALS:
            signal.signal(signum, _note)
        signal.signal(signal.SIGTERM, _stop)


def answer_for(trainer: Any) -> None:
    """Take the answers to signals over from Lightning.

    Under DDP its own broadcast a tensor before every batch and read it on the host, and broadcast another inside the
    handler of SIGTERM, while the other ranks are anywhere; on Slurm they save inside the handler, and requeue.
    """
    trainer._signal_connector.register_signal_handlers = _nothing
    loop = trainer.fit_loop.epoch_loop
    if hasattr(loop, "_broadcast_sigterm_tensor"):
        loop._broadcast_sigterm_tensor = _nothing
    _launchers.append(trainer.strategy.launcher)


def die_with_parent() -> None:
    """End this process when the one that started it ends. Also for `preexec_fn`; it does nothing but on Linux.

    A job must not outlive its sweep, or the sweep's restart meets it at work; a rank left alone would wait for the
    others, possibly forever.
    """
    if _prctl is not None:
        _prctl(*KILL_ME_TOO)


def asked_to_leave() -> bool:
    """Whether a signal has come."""
    return bool(_noted)


def _note(signum: int, frame: Any) -> None:
    _noted.append(signum)


def _stop(signum: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process whatever it is doing
    for rank in (process for launcher in _launchers for process in getattr(launcher, "procs", ())):
        if rank.poll() is None:
            rank.send_signal(signum)
    raise SystemExit(TERMINATED)


def _nothing() -> None:
    pass
