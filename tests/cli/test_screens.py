"""What a person sees at 60, 100 and 160 columns: start, running, resumed, finished, refused, interrupted, a sweep."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from hydra_plugins.lth_launcher._sweep_screen import SweepScreen
from hydra_plugins.lth_launcher.job import Job, summarise
from lth.callbacks.watch.show_progress import _Line
from lth.report.output import print_table
from lth.report.results import print_levels
from tests.support.harness import SMALL
from tests.support.screens import plain, screen
from tests.support.tiers import engine_but

WIDTHS = (60, 100, 160)
FACTS = {
    "level": "level 12 (13/15)",
    "density": "density 0.0687",
    "epoch": "epoch 117/160",
    "accuracy": "val acc 0.9123",
}


def terminal(width: int) -> Console:
    """A terminal that keeps what it is given."""
    return Console(file=io.StringIO(), force_terminal=True, width=width, highlight=False)


def shown(console: Console) -> list[str]:
    """The lines that a terminal was given."""
    assert isinstance(console.file, io.StringIO)
    return plain(console.file.getvalue()).splitlines()


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (30, "level 12 (13/15)   83%"),
        (45, "level 12 (13/15)   83%  1:23:45 left"),
        (60, "level 12 (13/15)   83%  1:23:45 left  val acc 0.9123"),
        (76, "level 12 (13/15)  density 0.0687   83%  1:23:45 left  val acc 0.9123"),
        (100, "level 12 (13/15)  density 0.0687  epoch 117/160   83%  1:23:45 left  val acc 0.9123"),
        (160, "level 12 (13/15)  density 0.0687  epoch 117/160   83%  1:23:45 left  val acc 0.9123"),
    ],
)
def test_the_line_of_progress_keeps_level_percent_time_left_and_accuracy_in_this_order(width: int, line: str):
    assert drawn(width, 5025.4, 83.2, FACTS).rstrip("━╸╺ ") == line
    assert len(drawn(width, 5025.4, 83.2, FACTS)) <= width


def test_the_line_of_progress_leaves_out_what_is_not_known_yet():
    line = drawn(60, None, 0.0, {**FACTS, "accuracy": ""})
    assert line.rstrip("━╸╺ ") == "level 12 (13/15)  density 0.0687  epoch 117/160    0%"


def drawn(width: int, left: float | None, percentage: float, facts: dict[str, str]) -> str:
    """The line of progress in a terminal."""
    console = terminal(width)
    task = SimpleNamespace(
        time_remaining=left, percentage=percentage, fields={"facts": facts}, total=100, completed=percentage
    )
    console.print(_Line(console).render(task))
    (line,) = shown(console)
    return line


LEVELS = [
    {
        "level": 0,
        "density": 1.0,
        "kept": 25_502_912,
        "train_loss": 0.1711,
        "val_accuracy": 0.95,
        "test_accuracy": 0.925,
    },
    {"level": 14, "density": 0.044, "kept": 1_122_128, "train_loss": 0.1, "val_accuracy": 0.9, "test_accuracy": 0.8765},
]


@pytest.mark.parametrize(
    ("width", "missing"), [(60, ["train loss", "seconds"]), (40, ["kept", "train loss", "seconds"]), (100, [])]
)
def test_a_table_gives_up_columns_by_importance_and_never_digits(width: int, missing: list[str], tmp_path: Path):
    console = terminal(width)
    print_levels(console, tmp_path, [{**row, "seconds": 12.3} for row in LEVELS], "imp of resnet50 on imagenet")
    lines = shown(console)
    table = [line for line in lines if line and line[0] in "┏┃┡│└"]
    assert max(map(len, table)) <= width
    assert all(number in "".join(table) for number in ("1.0000", "0.0440", "0.9250", "0.8765"))
    heading = next(line for line in table if "level" in line)
    assert [name for name in ("kept", "train loss", "val acc", "seconds") if name not in heading] == missing
    assert any(line == f"a wider terminal shows {', '.join(missing)} too" for line in lines) == bool(missing)


def test_a_long_first_column_is_folded_before_a_number_is_left_out():
    console = terminal(60)
    row = {"layer": "stages.3.blocks.12.convolution.weight", "density": 0.1234, "kept": 2_359_296, "macs": 115_605_504}
    print_table(console, [row], {name: name for name in row})
    assert all(number in "\n".join(shown(console)) for number in ("0.1234", "2,359,296", "115,605,504"))


class _Ended(Job):
    """A job that has ended with accuracies."""

    def _last_row(self) -> dict[str, str]:
        return {"val_accuracy": "0.91234", "test_accuracy": "0.9"}


@pytest.mark.parametrize("width", WIDTHS)
def test_a_sweep_with_a_failure(width: int, tmp_path: Path, capsys):
    console = terminal(width)
    jobs = [_Ended(["method=imp", f"seed={seed}"]) for seed in range(3)]
    with SweepScreen(jobs, 2, Path("logs"), console) as sweep:
        sweep.logs = tmp_path
        for index in (0, 1):
            sweep.started(index)
        sweep.ended(0, "")
        sweep.started(2)
        why = sweep.ended(1, "ValueError: no such file")
        assert sweep.total().startswith("2 of 3 jobs  66%  0:00:00 left  1 failed")
        sweep.ended(2, "")
    summarise(jobs, {1: why})
    text = "\n".join(shown(console)) + "\n" + capsys.readouterr().out
    assert "3 jobs to run, 2 at a time; their output: logs\n" in text
    assert re.search(r"finished: method=imp seed=0  val accuracy 0\.9123  test accuracy 0\.9000  \d+\.\d s\n", text)
    assert text.count(f"failed: method=imp seed=1: ValueError: no such file (output: {tmp_path}") == 2
    assert "2 of 3 jobs finished\n" in text
    totals = [line for line in text.splitlines() if re.match(r"\d of 3 jobs  ", line)]
    assert totals
    assert max(map(len, totals)) <= width


def frames(text: str) -> Iterator[str]:
    """The lines of progress that were drawn."""
    return (line for line in text.splitlines() if re.match(r"level \d+ \(.*%", line))


@pytest.mark.slow
@pytest.mark.parametrize("width", engine_but(WIDTHS, 60))
def test_a_run_from_refusal_and_interruption_to_its_end(width: int, tmp_path: Path):
    arguments = ["run", *SMALL, "sparsity=list", "sparsity.densities=[0.5]", "recipe.epochs=200", "folder=here"]
    code, text = screen(width, *arguments, "recipe.lr=-1", cwd=tmp_path)  # refused
    assert (code, plain(text)) == (1, "error: recipe.lr=-1: must be a number over 0\n")
    code, text = screen(width, *arguments, cwd=tmp_path, interrupt_at="val acc")  # start, running, interrupted
    lines = plain(text).splitlines()
    assert lines[0] == "imp of mlp on synthetic, list, seed 0, folder here"
    assert lines[1] == "2 levels, density 1 to 0.5"
    running = list(frames(plain(text)))
    shown = re.match(r"level ([01]) \([12]/2\) .*\d%  0:\d\d:\d\d left  val acc [01]\.\d{4}", running[-1])
    assert shown
    assert max(map(len, running)) <= width
    assert code == 130
    assert lines[-1] == "stopped; run the same command again to resume from the last checkpoint"
    code, text = screen(width, *arguments, "logger=none", cwd=tmp_path)  # resumed
    lines = plain(text).splitlines()
    assert code == 0
    assert lines[0] == "imp of mlp on synthetic, list, seed 0, resumes in here"
    assert f"resuming level {shown[1]} from its last checkpoint" in lines  # a signal may arrive late on a busy machine
    ending = [line.strip() for line in lines[lines.index("here/results.csv") :]]
    assert ending[1:4] == ["here/curve.png", "", "next:"]
    assert ending[4:] == ["lth report . --out report", "lth ticket show here/level_01_density_0.5/ticket.safetensors"]
    code, again = screen(width, *arguments, cwd=tmp_path)  # finished
    assert code == 0
    assert plain(again).splitlines()[0] == "2 of 2 levels are finished already; overwrite=true starts over"
    assert plain(again).splitlines()[1:] == lines[-len(plain(again).splitlines()) + 1 :]
