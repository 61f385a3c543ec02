"""The commands of README and docs/ work when they are pasted into bash and zsh."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from tests.support.commands import lth

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_STARTS = r"(?:lth|python|make|pip|ray|export|wandb|tensorboard|eval|\.ci/run|[A-Z]+=\S+ python|\w+\(\) \{) ?"


def blocks(page: Path) -> Iterator[str]:
    """The shell commands of a page: fenced blocks, transcripts without what is printed, and cells of tables."""
    text = page.read_text()
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if block.startswith("$ "):
            yield "\n".join(line[2:] for line in block.splitlines() if line.startswith("$ "))
        elif language in ("bash", "sh") or (not language and re.match(_STARTS, block)):
            yield block
    yield from re.findall(rf"^\| `({_STARTS}[^`]*)` \|", text, re.MULTILINE)


BLOCKS = [(page.relative_to(ROOT).as_posix(), block) for page in PAGES for block in blocks(page)]
# replaces every command that a block names by a function that does nothing and succeeds
_STUBS = """
for name in lth python pip make ray sinfo wandb tensorboard lth_slurm; do eval "$name() { :; }"; done
"""


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_reads_every_block_as_it_is_meant(shell: str, tmp_path: Path):
    """zsh takes unquoted brackets for patterns, splits no variable into words, and has no comments when interactive."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    for path in ("imp-geometric-0.25/threads=1/seed0", "imp-geometric-0.044/seed0/wandb/offline-run-1"):  # for patterns
        (tmp_path / "runs/digits/lenet_300_100" / path).mkdir(parents=True)
    wrong = []
    for page, block in BLOCKS:
        bare = re.sub(r"cluster/slurm conf|\.ci/run", "lth", block)
        options = ["-f"] if shell == "zsh" else ["--norc"]
        read = subprocess.run([shell, *options, "-n"], input=bare, capture_output=True, text=True, cwd=tmp_path)
        done = subprocess.run([shell, *options], input=_STUBS + bare, capture_output=True, text=True, cwd=tmp_path)
        if read.returncode or done.returncode or read.stderr or done.stderr:
            wrong.append((page, block, read.stderr + done.stderr))
        if re.search(r"\s#\s", re.sub(r"'[^']*'", "", block)):
            wrong.append((page, block, "a comment: an interactive zsh takes it for arguments"))
    assert wrong == []
    assert len(BLOCKS) > 60


def commands() -> list[list[str]]:
    """The words of each `lth run` that the pages show alone, without shell variables."""
    found = []
    for _, block in BLOCKS:
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line) if line.startswith(("lth run ", "python run.py ")) else []
            fails = "||" in words  # a page shows a refusal with `|| true`
            if words and not fails and not any(sign in line for sign in ("$", "...", "<")):
                found.append(list(takewhile(lambda word: word not in ("|", "&&"), words[2:])))
    return found


@pytest.mark.slow
def test_hydra_reads_the_overrides_of_every_documented_run_and_sweep():
    parser, wrong = OverridesParser.create(), []
    for words in commands():
        given = [word for word in words if "=" in word and not word.startswith("-")]
        try:
            parser.parse_overrides(given)
        except OverrideParseException as error:
            wrong.append((given, str(error).splitlines()[0]))
    assert wrong == []
    assert any("-m" in words for words in commands())


# commands that need other data, another package, a cluster, a ticket or several devices are left out
_DEAR = re.compile(r"experiment=|ticket=|dataset=(?!digits)|launcher=|sweeper=|trainer=|model=(?!lenet|mlp)|-m\b|rules")
CHEAP = [words for words in commands() if not _DEAR.search(" ".join(words))]


def shortened(words: list[str]) -> list[str]:
    """A run with as few epochs as its method can do with; four cycles of falling lengths need eight."""
    line = " ".join(words)
    epochs = "recipe.total_epochs=16" if "total_epochs" in line else f"recipe.epochs={8 if 'cycles' in line else 2}"
    mine = [word for word in words if not word.startswith((epochs.partition("=")[0], "threads"))]
    return [*mine, epochs, "trainer=cpu", "threads=1"]


@pytest.mark.engine
@pytest.mark.parametrize("words", CHEAP, ids=" ".join)
def test_a_documented_run_comes_to_its_end_when_it_is_shortened(words: list[str], tmp_path: Path):
    done = lth("run", *shortened(words), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("results.csv"))


def test_the_cheap_commands_are_many():
    assert len(CHEAP) >= 12


@pytest.mark.slow
def test_the_sweep_of_wandb_names_keys_that_there_are():
    from lth.cli._help import explain

    page = (ROOT / "docs" / "dashboards.md").read_text()
    plan = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    for name, given in plan["parameters"].items():
        for value in given["values"]:
            assert explain(f"{name}={value}" if isinstance(value, str) else name), (name, value)
