"""The command line: mistakes are answered with the nearest valid names; folders follow from the overrides."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from lth.cli._run_help import help_text
from lth.cli.main import main
from lth.cli.run import CONFIGURATIONS, _folder_name, _quoted
from lth.cli.run import main as run
from tests.support import own_parts
from tests.support.commands import lth, run_py

COMMANDS = ("run", "help", "report", "ticket", "summary", "sensitivity", "connectivity", "verdict", "completion")
CHOICES = {"dataset": "digits", "model": "mlp", "method": "imp", "sparsity": "geometric", "trainer": "auto"}
FAST = [
    "dataset=synthetic",
    "model=mlp",
    "model.widths=[8]",
    "recipe.epochs=1",
    "recipe.batch_size=100",
    "threads=1",
    "trainer=cpu",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mistake", "answer"),
    [
        ("method=ipm", "did you mean imp"),
        ("model=resnet21", "resnet20"),
        ("recipe.epoch=3", "did you mean recipe.epochs"),
        ("sparsity.densty=0.1", "did you mean sparsity.density"),
        ("recipe/schedule=cosin", "did you mean cosine"),
        ("experiment=rare_gems/resnet20_cifar10_gem_miner_0.144", "rare_gems/resnet20_cifar10_gem_miner_0.0144"),
        ("epochs=3", "recipe.epochs"),
        ("datset=mnist", "did you mean dataset"),
        ("++sparsity.rat=0.5", "did you mean sparsity.rate"),
        ("++recipe.epoch=3", "did you mean recipe.epochs"),
        ("criterion=snip", "did you mean method/criterion?"),
        ("method.criterion=snip", "did you mean method/criterion=snip?"),
    ],
)
def test_a_typing_error_is_answered_with_the_nearest_valid_name(mistake: str, answer: str, tmp_path: Path):
    result = run_py(mistake, cwd=tmp_path)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert answer in result.stderr
    assert not list(tmp_path.iterdir())


def test_lth_lists_its_commands_and_answers_an_unknown_one_with_the_nearest(capsys):
    main(["--help"])
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)
    assert len(text.splitlines()) <= 24
    with pytest.raises(SystemExit, match="no command 'repotr'; did you mean report"):
        main(["repotr"])


def _without(unneeded: list[str], arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    """A command, whose last line says which of the modules `unneeded` it has imported."""
    code = (
        f"import atexit, sys; atexit.register(lambda: print('imported', sorted(set({unneeded}) & set(sys.modules))));"
        f"from lth.cli.main import main; main({arguments})"
    )
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (["--help"], ["torch", "pytorch_lightning", "hydra", "matplotlib"]),
        (["run", "--help"], ["torch", "pytorch_lightning", "matplotlib"]),
        (["run", "method=ipm"], ["torch", "pytorch_lightning", "matplotlib"]),
        (["report", "nothing"], ["torch", "pytorch_lightning", "hydra"]),
        (["ticket", "show", "nothing"], ["pytorch_lightning", "matplotlib"]),
    ],
)
def test_help_and_mistakes_wait_for_no_import_that_they_do_not_need(arguments, unneeded, tmp_path):
    result = _without(unneeded, arguments, tmp_path)
    assert result.stdout.splitlines()[-1] == "imported []", result.stderr
    assert "Traceback" not in result.stderr
    assert result.returncode == ("--help" not in arguments)


def test_the_help_of_run_lists_groups_and_keys_on_a_screen(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run.py", "--help", "method=rigl"])
    run()
    text = capsys.readouterr().out
    assert "\n  method=" in text
    assert "\n  checkpoint_seconds" in text
    assert len(text.splitlines()) <= 60


def test_the_help_of_run_has_the_options_of_ones_own_folder(tmp_path):
    own_parts.write(tmp_path)
    text = help_text(CONFIGURATIONS, ["--config-dir", str(tmp_path / "settings"), "model=narrow", "--help"])
    assert "\noptions of your own:\n" in text
    assert "\n  model: narrow\n" in text
    assert "\n  experiment/mine: first\n" in text


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("run", "help", "completion")])
def test_every_command_has_a_module_of_its_name_too(name, monkeypatch, capsys):
    inner = ["show"] if name == "ticket" else []
    monkeypatch.setattr("sys.argv", [name, *inner, "--help"])
    with pytest.raises(SystemExit) as left:
        runpy.run_module(f"lth.{name}", run_name="__main__")
    assert left.value.code == 0
    assert f"usage: lth {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("run", "help", "completion")])
def test_every_command_has_help_under_its_name_and_says_where_it_writes(name, capsys):
    inner = ["show"] if name == "ticket" else []
    with pytest.raises(SystemExit) as left:
        main([name, *inner, "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: lth {name}")
    assert "--out" in text


@pytest.mark.slow
def test_lth_run_is_run_py(tmp_path: Path):
    mistake = lth("run", "method=ipm", cwd=tmp_path)
    assert (mistake.returncode, mistake.stderr) == (1, run_py("method=ipm", cwd=tmp_path).stderr)
    trained = lth("run", *FAST, "method=dense", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert [path.parent.name for path in tmp_path.rglob("results.csv")] == ["seed0"]
    assert run_py(*FAST, "method=dense", cwd=tmp_path).stdout.count("1 of 1 levels are finished already") == 1


@pytest.mark.slow
def test_importing_lth_is_quick_and_pulls_in_no_tracker_or_vision_library():
    code = (
        "import sys, time; start = time.process_time(); import lth; assert time.process_time() - start < 2.5;"
        "heavy = {'torchvision', 'timm', 'wandb', 'matplotlib', 'ffcv'} & set(sys.modules); assert not heavy, heavy;"
        "import lth.pruning; heavy = {'torchvision', 'timm', 'wandb', 'matplotlib'} & set(sys.modules);"
        "assert not heavy, heavy; assert lth.pruning.Masks"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_one_command_from_start_to_table_and_again_without_training(tmp_path: Path):
    arguments = [*FAST, "sparsity.density=0.64"]
    first = run_py(*arguments, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "runs/synthetic/mlp/imp-geometric-0.64"
    (run,) = [p.parent for p in folder.rglob("results.csv")]
    assert run.name == "seed0"
    for name in ("config.yaml", "results.csv", "metrics.csv", "layers.csv", "curve.png"):
        assert (run / name).is_file()
    assert "results.csv" in first.stdout
    assert "curve.png" in first.stdout
    assert "\x1b" not in first.stdout
    what = "imp of mlp on synthetic, geometric to density 0.64, seed 0"
    assert first.stdout.startswith(f"{what}, folder {run.relative_to(tmp_path)}\n3 levels, density 1 to 0.64\n")
    assert "\nnext:\n  lth report runs --out report\n" in first.stdout
    again = run_py(*arguments, cwd=tmp_path)
    assert again.returncode == 0
    assert "test accuracy" not in again.stdout
    assert "3 of 3 levels are finished already" in again.stdout
    assert "results.csv" in again.stdout
    assert again.stdout.partition("┃")[2] == first.stdout.partition("┃")[2]
    assert "imported []" in _without(["torch", "pytorch_lightning"], ["run", *arguments], tmp_path).stdout
    (run / "curve.png").unlink()  # what is missing is made again
    assert run_py(*arguments, cwd=tmp_path).returncode == 0
    assert (run / "curve.png").is_file()


@pytest.mark.slow
def test_a_sweep_gives_each_job_its_folder_and_survives_a_failing_job(tmp_path: Path):
    sweep = lth("run", "-m", *FAST, "sparsity.density=0.8", "method=imp,random", "recipe.lr=0.1,-1", cwd=tmp_path)
    assert sweep.returncode == 1
    assert "2 of 4 jobs finished" in sweep.stdout
    assert len(list(tmp_path.rglob("results.csv"))) == 2
    alone = run_py(*FAST, "sparsity.density=0.8", "method=random", "recipe.lr=0.1", cwd=tmp_path)
    assert alone.returncode == 0
    assert len(list(tmp_path.rglob("results.csv"))) == 2, "alone and in a sweep the folder must be the same"


@pytest.mark.parametrize("quote", ["", '"'])
def test_the_path_of_a_file_needs_no_quotes(quote: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("lr=0.1,epochs=2", "ticket.safetensors")
    assert _quoted(f"ticket={path}") == f"ticket={path}"  # of no file: it may be anything
    path.parent.mkdir()
    path.touch()
    assert _quoted(f"ticket={quote}{path}{quote}") == f'ticket="{path}"'
    assert _quoted(f"+a.b={path.parent}") == f'+a.b="{path.parent}"'
    for other in ("seed=1", "--config-dir=x=y", "method=glob(*,exclude=[a=b])", "-m"):
        assert _quoted(other) == other


def test_a_folder_is_a_function_of_what_matters():
    def name(*overrides: str, seed: int = 0) -> str:
        return _folder_name(CHOICES, list(overrides), seed, 0.1)

    assert name() == "runs/digits/mlp/imp-geometric-0.1/seed0"
    assert name("seed=3", "logger=wandb", "trainer.devices=2", "dataset.root=/x", seed=3) == name(seed=3)
    assert name("recipe.lr=0.2", "recipe.epochs=2") == name("recipe.epochs=2", "recipe.lr=0.2")
    assert name("recipe.lr=0.2") == "runs/digits/mlp/imp-geometric-0.1/recipe.lr=0.2/seed0"
    assert name("model.widths=[300,100]") != name("model.widths=[300,200]")
    assert name("method/criterion=random") != name()
    experiment = _folder_name({**CHOICES, "experiment": "own/digits_checks"}, ["experiment=own/digits_checks"], 0, 0.1)
    assert experiment == "runs/digits/mlp/imp-geometric-0.1/experiment=own-digits_checks/seed0"
    assert len(Path(name(*[f"recipe.key{i}=0.123456" for i in range(40)])).parts[4]) < 255


def test_fifty_overrides_give_fifty_folders():
    made = {_folder_name(CHOICES, [f"model.widths=[{i},{j}]"], 0, 0.1) for i in range(10) for j in range(5)}
    assert len(made) == 50
