"""README, start page and tutorials: their commands are run in an empty folder, and print what the pages say."""

import pytest

from docs.pages.run_page import ROOT, differences, run
from tests.launchers.test_sweeps_slurm import slurm as slurm  # a fixture
from tests.support.preloaded import preloaded_python

PAGES = [ROOT / "README.md", ROOT / "docs" / "start.md", *sorted((ROOT / "docs" / "tutorials").glob("[!i]*.md"))]
TABLE = "│ 1     │  0.3506 │ 17,600 │   0.9665 │     1.6 │\nlevel 1  accuracy 0.9665  1.6 s\n"


def test_outputs_may_differ_in_times_and_in_an_image_or_two():
    other = TABLE.replace("1.6", "12.5").replace("0.9665", "0.9638").replace("1     │", "1    │")
    assert differences(TABLE, other) == []


@pytest.mark.parametrize("new", ["17,601", "17.600"])
def test_a_count_that_changed_is_a_difference(new):
    assert differences(TABLE, TABLE.replace("17,600", new)) == [f"expected 17,600, printed {new}"]


def test_other_accuracies_and_other_words_are_differences():
    assert differences(TABLE, TABLE.replace("0.9665", "0.8")) == ["expected 0.9665, printed 0.8"] * 2
    assert len(differences(TABLE, TABLE.replace("level", "stage"))) == 2


@pytest.mark.engine
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_what_its_commands_print(page, tmp_path):
    with preloaded_python() as python:  # tests of the wheel and of sweeps start real processes
        commands = list(run(page, tmp_path, python=str(python)))
    assert commands
    for command in commands:
        assert command.code == 0, f"{command.line}\n{command.printed}"
        assert differences(command.expected, command.printed) == [], command.line


@pytest.mark.engine
def test_the_tutorial_of_sweeps_runs_on_slurm(slurm, tmp_path):
    commands = list(run(ROOT / "docs" / "tutorials" / "laptop_to_slurm.md", tmp_path, needs="slurm"))
    assert [command.code for command in commands] == [0, 0], commands
    assert differences(commands[-1].expected, commands[-1].printed) == []
