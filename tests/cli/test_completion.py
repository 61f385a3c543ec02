"""TAB completion: what may stand at the end of a line, and that bash and zsh insert it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lth.cli import _completion
from lth.cli._comments import groups, options
from lth.cli._completion import candidates
from lth.cli._value_tables import lines
from lth.cli.main import COMMANDS, main


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("lth re", ["report"]),
        ("lth completion ", ["bash", "zsh"]),
        ("lth ticket sh", ["show"]),
        ("lth report ", []),
        ("lth run method=rig", ["method=rigl"]),
        ("lth run -m seed=0,1 method=imp,rig", ["method=imp,rigl"]),
        ("lth run recipe.sch", ["recipe.schedule.", "recipe.schedule_every=", "recipe.schedule_late="]),
        ("lth run recipe/opt", ["recipe/optimizer="]),
        ("lth run ++overwrite=t", ["++overwrite=true"]),
        ("lth run method.bn_stats=", ["method.bn_stats=keep", "method.bn_stats=rewind"]),
        ("lth run nothing.like", []),
        ("lth help recipe.accum", ["recipe.accumulate"]),
        ("lth help method=rig", ["method=rigl"]),
    ],
)
def test_a_line_is_completed(line: str, found: list[str]):
    assert candidates(line) == found


@pytest.mark.slow
def test_every_command_group_option_and_key_can_be_reached():
    assert candidates("lth ") == sorted(COMMANDS)
    assert {f"{group}=" for group in groups()} <= set(candidates("lth run "))
    for group in groups():
        assert candidates(f"lth run {group}=") == sorted(f"{group}={option}" for option in options(group))
    for key in [line.key for line in lines() if "*" not in line.key][::5]:
        assert {f"{key}=", f"{key}."} & set(candidates(f"lth run {key}")), key


def test_the_commands_of_lth_ticket_are_all_there(capsys):
    with pytest.raises(SystemExit):
        main(["ticket", "nothing"])
    listed = capsys.readouterr().err.partition("choose from ")[2].rstrip(")\n")
    assert sorted(word.strip("' ") for word in listed.split(",")) == sorted(_completion._TICKET)


@pytest.fixture
def path(tmp_path: Path) -> dict[str, str]:
    """An environment in which `lth` is this code."""
    (tmp_path / "lth").write_text(f'#!/bin/sh\nexec {sys.executable} -m lth "$@"\n')
    (tmp_path / "lth").chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(Path(__file__).parents[2])}


BASH = """
eval "$(lth completion bash)"
COMP_LINE=$1 COMP_POINT=${#1}
_lth
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "inserted"),
    [("lth ver", "verdict"), ("lth run method=rig", "rigl"), ("lth run -m method=imp,rig", "imp,rigl")],
)
def test_bash_inserts_what_follows_its_word_breaks(line: str, inserted: str, path: dict[str, str]):
    done = subprocess.run(["bash", "-c", BASH, "bash", line], env=path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{inserted}\n", "")


ZSH = """
autoload -Uz compinit && compinit -D
eval "$(lth completion zsh)"
compadd() { print -r -- "compadd $*" }
_files() { print files }
LBUFFER=$1
_lth
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
@pytest.mark.parametrize(
    ("line", "inserted"),
    [
        ("lth run method=rig", "compadd -- method=rigl"),
        ("lth run recipe/opt", "compadd -S  -- recipe/optimizer="),
        ("lth report ", "files"),
    ],
)
def test_zsh_inserts_words(line: str, inserted: str, path: dict[str, str]):
    done = subprocess.run(["zsh", "-fc", ZSH, "zsh", line], env=path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{inserted}\n", "")
