"""Signals to a run. SIGUSR1, SIGUSR2: save and stop at the end of the epoch. SIGTERM: stop now.

Files on disk are complete at every moment, so stopping now loses only the training since the last checkpoint.
"""

import ctypes
import signal
import threading
from typing import Any

SIGNALS = signal.SIGUSR1, signal.SIGUSR2  # sent by schedulers before a time limit or a preemption
AGAIN = 75  # exit code after SIGUSR1 or SIGUSR2: saved, run the same command again (sysexits' EX_TEMPFAIL)
TERMINATED = 128 + signal.SIGTERM  # exit code after SIGTERM
_SET_PDEATHSIG = 1, int(signal.SIGKILL)  # prctl(PR_SET_PDEATHSIG, ...)
_prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux only; looked up now: after a fork nothing may be imported
_noted: list[int] = []
_launchers: list[Any] = []  # Lightning's launchers, whose `procs` are the other ranks unless torchrun started them


def listen() -> None:
    """Install the handlers: note SIGUSR1 and SIGUSR2; at SIGTERM stop all ranks and exit with code 143.

    Outside the main thread, where handlers cannot be installed, this is a no-op.
    """
    if threading.current_thread() is threading.main_thread():
        for signum in SIGNALS:
            signal.signal(signum, _note)
        signal.signal(signal.SIGTERM, _stop)


def answer_for(trainer: Any) -> None:
    """Disable the signal handlers of Lightning's `trainer` in favour of those of `listen`.

    Under DDP, Lightning broadcasts a tensor before every batch and reads it on the host. Its SIGTERM handler broadcasts
    another while the other ranks may be anywhere. On Slurm it saves within the handler and requeues the job.
    """
    trainer._signal_connector.register_signal_handlers = _nothing
    loop = trainer.fit_loop.epoch_loop
    if hasattr(loop, "_broadcast_sigterm_tensor"):
        loop._broadcast_sigterm_tensor = _nothing
    _launchers.append(trainer.strategy.launcher)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends. Also for `preexec_fn`. Linux only, elsewhere a no-op.

    Otherwise a job could outlive its sweep and collide with the sweep's restart, and a rank left alone could wait for
    the others forever.
    """
    if _prctl is not None:
        _prctl(*_SET_PDEATHSIG)


def asked_to_leave() -> bool:
    """Whether SIGUSR1 or SIGUSR2 has been received."""
    return bool(_noted)


def _note(signum: int, frame: Any) -> None:
    _noted.append(signum)


def _stop(signum: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second SIGTERM kills the process at once
    for rank in (process for launcher in _launchers for process in getattr(launcher, "procs", ())):
        if rank.poll() is None:
            rank.send_signal(signum)
    raise SystemExit(TERMINATED)


def _nothing() -> None:
    pass
