"""Runs command lines as processes of their own that share their imports: copies of this one."""

import os
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

from tests.support.harness import forks
from tests.support.preloaded import run_command

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
    files = {number: os.open(path, os.O_WRONLY | os.O_CREAT) for number, path in ((1, out), (2, err))}
    what = [str(ROOT / program)] if program == "run.py" else ["-m", program]
    run_command([*what, *arguments], cwd, files)
