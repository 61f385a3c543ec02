"""The replacement of `python` that tests use for pages of commands behaves like a new interpreter."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.preloaded import preloaded_python

pytestmark = pytest.mark.slow
PROBE = "import os, sys; print(sys.argv, os.getcwd(), os.environ['PROBE'], sys.stdin.read()); sys.exit({code})"
SLEEPS = "import os, time; print(os.getpid(), flush=True); time.sleep(100)"


@pytest.fixture(scope="module")
def python():
    with preloaded_python() as path:
        yield str(path)


@pytest.mark.parametrize("code", ["0", "3", "'a message'"])
def test_arguments_folder_environment_streams_and_exit_code_are_those_of_python(code: str, python: str, tmp_path: Path):
    (tmp_path / "script.py").write_text(PROBE.format(code=code))
    (tmp_path / "module.py").write_text(PROBE.format(code=code))
    for arguments in (["script.py", "a", "b c"], ["-m", "module", "a"], ["-c", PROBE.format(code=code), "a"]):
        ended = []
        for program in (sys.executable, python):
            options = {"cwd": tmp_path, "env": {**os.environ, "PROBE": "x y"}, "input": "given", "text": True}
            ended.append(subprocess.run([program, *arguments], capture_output=True, check=False, **options))
        (real, ours) = ((done.returncode, done.stdout, done.stderr) for done in ended)
        assert ours == real
        assert "given" in ours[1]


def test_torch_is_imported_already(python: str):
    code = "import sys; print('torch' in sys.modules)"
    assert subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"


def test_a_process_is_killed_with_its_caller(python: str):
    with subprocess.Popen([python, "-c", SLEEPS], stdout=subprocess.PIPE, text=True) as caller:
        process = Path("/proc") / caller.stdout.readline().strip()
        assert process.exists()
        caller.kill()
    end = time.monotonic() + 20
    while process.exists() and "Z" not in (process / "stat").read_text().split()[2]:
        assert time.monotonic() < end, "the process still runs"
        time.sleep(0.1)
