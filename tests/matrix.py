"""The wheel in fresh environments: every Python that is here, with the lowest and with the newest dependencies.

`python -m tests.matrix [3.10 ...]` (or `make matrix`) needs uv. In each environment it makes the default run in an
empty folder with the installed wheel, then runs the fast tests of this checkout, and prints a table. Lowest are the
lowest direct dependencies of pyproject.toml that have a wheel for the Python. Exit code 1 where anything fails.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
# packages that are installed from wheels only: an old version without a wheel for a new Python would be compiled
WHEELS = ("numpy", "scipy", "scikit-learn", "matplotlib", "pyyaml", "safetensors", "torch", "torchvision")
SHOWN = ("torch", "pytorch-lightning", "torchmetrics", "numpy")
COLUMNS = "{:<7}{:<8}{:<68}{:<13}{:<26}{:>7}"
LIMIT = 3600  # seconds for one step


def uv() -> str:
    """The path of uv: that of this environment, or that of the machine."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if not found:
        sys.exit("error: `make matrix` needs uv: pip install uv")
    return found


def find(python: str) -> str:
    """The interpreter of a version under pyenv, which uv does not look into; else the version, for uv to find."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return str(next(root.glob(f"versions/{python}.*/bin/python"), python))


def run(command: Sequence[object], cwd: Path, log: Path) -> tuple[bool, str]:
    """Run a command, add its output to `log`; returns whether it succeeded, and the output."""
    try:
        ended = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        good, text = ended.returncode == 0, ended.stdout
    except subprocess.TimeoutExpired:
        good, text = False, f"no end within {LIMIT} seconds"
    with log.open("a") as file:
        file.write(f"$ {' '.join(map(str, command))}\n{text}\n")
    return good, text


def cell(python: str, resolution: str, wheel: Path, log: Path) -> tuple[bool, str]:
    """Try one environment; returns whether all went well, and its line of the table."""
    begun = time.monotonic()

    def line(good: bool, versions: str, default: str = "-", tests: str = "-") -> tuple[bool, str]:
        seconds = f"{time.monotonic() - begun:.0f} s"
        return good, COLUMNS.format(python, resolution, versions, default, tests, seconds)

    with TemporaryDirectory() as folder:
        environment, empty = Path(folder) / "environment", Path(folder) / "empty"
        empty.mkdir()
        interpreter = environment / "bin" / "python"
        if not run([uv(), "venv", "--no-python-downloads", "--python", find(python), environment], ROOT, log)[0]:
            return line(True, "no such Python on this machine")
        wheels = [part for name in WHEELS for part in ("--only-binary", name)]
        chosen = ["--resolution", RESOLUTIONS[resolution], *wheels]
        install = [uv(), "pip", "install", "--python", interpreter]
        direct = [
            *chosen,
            "-r",
            ROOT / "pyproject.toml",
            "pytest>=8",
        ]
        if not (run([*install, *direct], ROOT, log)[0] and run([*install, wheel], ROOT, log)[0]):
            return line(False, "does not install")
        listed = run([uv(), "pip", "freeze", "--python", interpreter], ROOT, log)[1]
        versions = dict(re.findall(r"^([\w-]+)==(\S+)", listed, re.MULTILINE))
        shown = ", ".join(f"{name.removeprefix('pytorch-')} {versions.get(name, '?')}" for name in SHOWN)
        trained, _ = run([interpreter.with_name("lth"), "run", "threads=1"], empty, log)
        trained &= len(list(empty.glob("runs/**/results.csv"))) == 1
        chosen = ["-p", "no:cacheprovider", "-m", "not slow and not engine", "-rs"]
        passed, text = run([interpreter, "-m", "pytest", *chosen, "-o", "addopts=--strict-markers"], ROOT, log)
        counted = re.findall(r"^=+ (.*) in [\d.]+s.*=+$", text, re.MULTILINE) or ["no result"]
        counted[-1] = re.sub(r", \d+ (deselected|warnings?)", "", counted[-1])
        return line(trained and passed, shown, "finished" if trained else "FAILED", counted[-1])


def main(pythons: Sequence[str]) -> int:
    """Try all environments; print the table as it grows; returns the exit code."""
    log = ROOT / "build" / "matrix.log"
    log.parent.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    with TemporaryDirectory() as folder:
        built, text = run([uv(), "build", "--out-dir", folder, ROOT], ROOT, log)
        if not built:
            sys.exit(text)
        (wheel,) = Path(folder).glob("*.whl")
        print(COLUMNS.format("python", "", "versions", "default run", "fast tests", ""), flush=True)
        every = []
        for python in pythons:
            for resolution in RESOLUTIONS:
                good, line = cell(python, resolution, wheel, log)
                print(line.rstrip(), flush=True)
                every.append(good)
                if "no such Python" in line:
                    break
    print(f"all output: {log.relative_to(ROOT)}")
    return 0 if all(every) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or PYTHONS))
