"""Runs command lines as processes of their own that share their imports: copies of this one."""

import os
import runpy
import sys
from multiprocessing import forkserver
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

from tests.support.harness import forks

ROOT = Path(__file__).parents[2]


def run_py(*arguments: str, cwd: Path = ROOT) -> CompletedProcess:
    """`python run.py ...` in the folder `cwd`."""
    return _call("run.py", arguments, cwd)


def lth(*arguments: str, cwd: Path = ROOT) -> CompletedProcess:
    """`python -m lth ...` in the folder `cwd`."""
    return _call("lth", arguments, cwd)


def python_m(name: str, *arguments: str, cwd: Path = ROOT) -> CompletedProcess:
    """`python -m name ...` in the folder `cwd`."""
    return _call(name, arguments, cwd)


def _call(program: str, arguments: tuple[str, ...], cwd: Path) -> CompletedProcess:
    with TemporaryDirectory() as folder:
        printed = [Path(folder) / name for name in ("out", "err")]
        process = forks().Process(target=run_in_process, args=(program, arguments, str(cwd), *map(str, printed)))
        process.start()
        process.join()
        texts = [path.read_text() for path in printed]
    assert process.exitcode is not None
    return CompletedProcess([program, *arguments], process.exitcode, *texts)


def run_in_process(program: str, arguments: tuple[str, ...], cwd: str, out: str, err: str) -> None:
    """Run a command in this process, which it ends. out, err: files that take its output."""
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    os.chdir(cwd)
    forkserver._forkserver.__init__()  # a server that an earlier test started is not a child of this process
    if program == "run.py":
        sys.argv = [str(ROOT / program), *arguments]
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        sys.argv = [program, *arguments]
        runpy.run_module(program, run_name="__main__", alter_sys=True)
