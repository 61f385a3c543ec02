"""Signals to a run. SIGUSR1, SIGUSR2: save and stop at the end of the epoch. SIGTERM, SIGINT: stop now.

Before training there is nothing to save, so all of them stop the run at once. Files on disk are complete at every
moment, so stopping now loses only the training since the last checkpoint.
"""

import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = signal.SIGUSR1, signal.SIGUSR2  # sent by schedulers before a time limit or a preemption
AGAIN = 75  # exit code after SIGUSR1 or SIGUSR2: saved, run the same command again (sysexits' EX_TEMPFAIL)
TERMINATED = 128 + signal.SIGTERM  # exit code after SIGTERM
_SET_PDEATHSIG = 1, int(signal.SIGKILL)  # prctl(PR_SET_PDEATHSIG, ...)
_prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux only; looked up now: after a fork nothing may be imported
_PARENT = "LTH_PARENT"  # environment variable: process id of the rank that starts other ranks
_noted: list[int] = []
_stopping: list[BaseException] = []  # what the handler of SIGTERM or SIGINT has raised
_launchers: list[Any] = []  # Lightning's launchers, whose `procs` are the other ranks unless torchrun started them


def listen(training: bool = True) -> None:
    """Install the handlers: note SIGUSR1 and SIGUSR2; at SIGTERM stop all ranks and exit with code 143.

    training: whether there is a state to save; else SIGUSR1 and SIGUSR2 exit at once with code 75, and a rank other
        than the first of its machine ends with its parent from now on

    Outside the main thread, where handlers cannot be installed, this is a no-op. A handler of SIGINT that is not
    Python's own stays.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if not training and _is_started_rank():
        die_with_parent()
    for signum in SIGNALS:
        signal.signal(signum, _note if training else _leave)
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise the exception of SIGTERM or SIGINT, even if a library replaced it by another error."""
    _stopping.clear()
    try:
        yield
    except Exception as error:
        if _stopping:
            raise _stopping[0] from error
        raise


def disable_lightning_handlers(trainer: Any) -> None:
    """Disable the signal handlers of Lightning's `trainer`; those of `listen` act instead, also on the ranks it starts.

    Under DDP, Lightning broadcasts a tensor before every batch and reads it on the host. Its SIGTERM handler broadcasts
    another while the other ranks may be anywhere. On Slurm it saves within the handler and requeues the job.
    """
    trainer._signal_connector.register_signal_handlers = _nothing
    loop = trainer.fit_loop.epoch_loop
    if hasattr(loop, "_broadcast_sigterm_tensor"):
        loop._broadcast_sigterm_tensor = _nothing
    launcher = trainer.strategy.launcher
    if launcher is not None:
        _launchers.append(launcher)
        launcher.launch = _naming_the_parent(launcher.launch)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends. Also for `preexec_fn`. Linux only, elsewhere a no-op.

    Otherwise a job could outlive its sweep and collide with the sweep's restart, and a remaining rank could wait for
    the others forever. A rank whose parent has already ended is killed here.
    """
    if _prctl is not None:
        _prctl(*_SET_PDEATHSIG)
        parent = os.environ.get(_PARENT)
        if _is_started_rank() and parent and int(parent) != os.getppid():
            os.kill(os.getpid(), signal.SIGKILL)


def asked_to_leave() -> bool:
    """Whether SIGUSR1 or SIGUSR2 has been received."""
    return bool(_noted)


def _is_started_rank() -> bool:
    """Whether this process is a rank other than the first of its machine."""
    return os.environ.get("LOCAL_RANK", "0") != "0"


def _naming_the_parent(launch: Callable[..., Any]) -> Callable[..., Any]:
    """`launch` of a launcher, with this process's id in the environment that the ranks inherit.

    Processes started later must not inherit the variable, so it is restored afterwards.
    """

    def named(*args: Any, **kwargs: Any) -> Any:
        before = os.environ.get(_PARENT)
        os.environ[_PARENT] = str(os.getpid())
        try:
            return launch(*args, **kwargs)
        finally:
            if before is None:
                os.environ.pop(_PARENT, None)
            else:
                os.environ[_PARENT] = before

    return named


def _note(signum: int, frame: Any) -> None:
    _noted.append(signum)


def _leave(signum: int, frame: Any) -> None:
    raise SystemExit(AGAIN)


def _interrupt(signum: int, frame: Any) -> None:
    _stopping.append(KeyboardInterrupt())
    raise _stopping[-1]


def _stop(signum: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second SIGTERM kills the process at once
    for rank in (process for launcher in _launchers for process in getattr(launcher, "procs", ())):
        if rank.poll() is None:
            rank.send_signal(signum)
    _stopping.append(SystemExit(TERMINATED))
    raise _stopping[-1]


def _nothing() -> None:
    pass
