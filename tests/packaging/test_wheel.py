"""The wheel, installed in an environment of its own and used from an empty folder: no checkout in reach."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

import lth
from tests.support import own_parts
from tests.support.sweeping import ROOT

pytestmark = pytest.mark.engine
QUICK = "recipe.epochs=1", "sparsity.density=0.64", "threads=1", "trainer=cpu"
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, which finds its dependencies in that of the tests; nothing is downloaded."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not uv:
        pytest.skip("uv is not installed: pip install uv")
    pytest.importorskip("setuptools", "77", reason="setuptools 77 or newer builds the wheel without a download")
    folder = tmp_path_factory.mktemp("wheel")
    source, built = folder / "source", folder / "built"
    for name in ("lth", "hydra_plugins", "conf"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    made = folder / "environment"
    python = made / "bin" / "python"
    install = [uv, "pip", "install", "--no-deps", "--offline", "--python", python, "--find-links", built]
    for command in (
        [uv, "build", "--no-build-isolation", "--python", sys.executable, "--out-dir", built, source],
        [uv, "venv", "--python", sys.executable, made],
        [*install, f"lth=={lth.__version__}"],
    ):
        subprocess.run([str(part) for part in command], check=True, capture_output=True, cwd=folder)
    (packages,) = made.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return made


@pytest.fixture
def run(environment: Path, tmp_path: Path) -> Command:
    """Runs `lth ...` of the installed wheel in an empty folder."""
    inherited = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def lth_(*arguments: str, program: str = "lth") -> subprocess.CompletedProcess[str]:
        command = [str(environment / "bin" / program), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=inherited, capture_output=True, text=True, check=False)

    return lth_


def results(cwd: Path) -> list[Path]:
    return sorted(cwd.glob("runs/**/results.csv"))


def good(ended: subprocess.CompletedProcess[str]) -> str:
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_command_and_the_version_are_those_of_the_wheel(run: Command, environment: Path):
    assert "commands:" in good(run("--help"))
    code = "import lth, importlib.metadata as m; print(lth.__version__, m.version('lth'), lth.__file__)"
    version, described, file = good(run("-c", code, program="python")).split()
    assert version == described == lth.__version__
    assert Path(file).is_relative_to(environment)


def test_a_run_a_sweep_and_a_report_in_an_empty_folder(run: Command, tmp_path: Path):
    good(run("run", *QUICK))
    assert "2 of 2 jobs finished" in good(run("run", "-m", *QUICK, "method=imp,random", "seed=1"))
    assert len(results(tmp_path)) == 3
    good(run("report", "runs", "--out", "report"))
    assert (tmp_path / "report" / "report.html").is_file()
    assert "3 of 3 levels are finished already" in good(run("run", *QUICK))


def test_parts_of_a_users_own_alone_resumed_in_a_sweep_and_reported(run: Command, tmp_path: Path):
    own_parts.write(tmp_path)
    good(run("run", *own_parts.RUN, "trainer=cpu"))
    assert "3 of 3 levels are finished already" in good(run("run", *own_parts.RUN, "trainer=cpu"))
    swept = good(run("run", "-m", *own_parts.RUN, "trainer=cpu", "seed=0,1,2", "hydra.launcher.jobs=2"))
    assert "finished already: " in swept
    assert "3 of 3 jobs finished" in swept
    good(run("report", "runs"))
    (ticket,) = tmp_path.glob("runs/**/seed0/level_02_*/ticket.safetensors")
    assert "not lth's" in good(run("ticket", "show", str(ticket)))
    control = "method=retrain", f"ticket='{ticket}'", "treatment=negate", "model=narrow", "dataset=blurred"
    short = "recipe.epochs=1", "threads=1", "trainer=cpu"
    good(run("run", "--config-dir", "settings", *control, *short, "folder=control"))


def test_parts_of_a_users_own_are_searched_by_optuna(run: Command, tmp_path: Path):
    pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'lth[optuna]'")
    own_parts.write(tmp_path)
    search = "hydra/sweeper=optuna", "hydra.sweeper.trials=2", "hydra.sweeper.at_a_time=2", "model.width=range(8,12)"
    printed = good(run("run", "-m", *own_parts.RUN, *search, "trainer=cpu"))
    assert "best of 2 trials: " in printed
    assert len(list(tmp_path.rglob("note"))) >= 3


def test_parts_of_a_users_own_train_on_two_ranks(run: Command, tmp_path: Path):
    own_parts.write(tmp_path)
    good(run("run", "trainer=ddp_cpu", *own_parts.RUN))  # Lightning appends overrides to it
    assert {path.read_text() for path in tmp_path.rglob("note")} == {"rank 0 of 2"}


def test_an_installed_package_announces_its_configurations(run: Command, environment: Path, tmp_path: Path):
    (packages,) = environment.glob("lib/python*/site-packages")
    own_parts.write(packages, "mine/settings")
    described = packages / "mine-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[lth.configurations]\nmine = mine.settings\n")
    try:
        swept = good(run("run", "-m", own_parts.EXPERIMENT, "trainer=cpu", "seed=0,1"))
        wrong = run("run", "model=narow")
    finally:
        shutil.rmtree(packages / "mine")
        shutil.rmtree(described)
    assert "2 of 2 jobs finished" in swept
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert "did you mean narrow" in wrong.stderr
