"""Results as tables for a terminal, as Markdown, and as JSON values."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.interleave import Arm, Comparison, Measured
from benchmarks.ratio import Ratio, ratio_of, work_per_second
from benchmarks.setting import Setting
from lth.experiment._environment import environment

HEADS = ("arm", "speed", "ratio", "95%", "range", "ops")
WIDTHS = (24, 15, 6, 11, 11, 4)  # minimum characters, so that the columns of all tables align
LEGEND = (
    "ratio: throughput of the first arm divided by this arm's, median of rounds; 95%: bootstrap interval of it; "
    "range: smallest and largest round; ops: dispatched operations of one training step without views"
)


@dataclass(frozen=True)
class Finding:
    """A measured comparison.

    file: its name on the command line
    """

    file: str
    measured: Measured

    @property
    def comparison(self) -> Comparison:
        """What was compared."""
        return self.measured.comparison

    @property
    def heading(self) -> str:
        """File, title and aim of the comparison."""
        aim = f" (aim: {self.comparison.aim})" if self.comparison.aim else ""
        return f"{self.file}, {self.comparison.title}{aim}"

    def ratio(self, reference: Arm) -> Ratio:
        """Throughput of lth divided by that of `reference`."""
        return ratio_of(self.measured, self.comparison.arms[0], reference)

    def rows(self) -> list[tuple[str, ...]]:
        """The cells under `HEADS` of every arm, lth first."""
        return [self.row(arm) for arm in self.comparison.arms]

    def row(self, arm: Arm) -> tuple[str, ...]:
        """The cells of one arm; those of the ratio are empty for the first arm."""
        spread = ("", "", "")
        if arm is not self.comparison.arms[0]:
            ratio = self.ratio(arm)
            spread = (times(ratio.median), between(ratio.low, ratio.high), between(ratio.least, ratio.most))
        return (arm.name, self.speed(arm), *spread, "" if arm.ops is None else str(arm.ops))

    def speed(self, arm: Arm) -> str:
        """Median over the rounds: a rate, or the seconds of one turn."""
        rate, unit = median(work_per_second(self.measured, arm)), self.comparison.unit
        return f"{rate:,.0f} {unit}" if unit else f"{arm.work / rate:.4f} s"

    def record(self) -> dict[str, Any]:
        """JSON values: ratio of lth to each arm with its spread, and the seconds of each round (two turns)."""
        subject, *references = self.comparison.arms
        arms = {
            arm.name: {"seconds": self.measured.rounds[arm.name], "work": 2 * arm.work, "ops": arm.ops}
            for arm in self.comparison.arms
        }
        ratios = {arm.name: self.ratio(arm)._asdict() for arm in references}
        about = {"file": self.file, "title": self.comparison.title, "unit": self.comparison.unit}
        return {**about, "subject": subject.name, "ratios": ratios, "arms": arms}


def times(ratio: float) -> str:
    """A ratio with three decimals below 10, one above: 0.953, 23.3."""
    return f"{ratio:.3f}" if ratio < 10 else f"{ratio:.1f}"


def between(low: float, high: float) -> str:
    """A range of ratios."""
    return f"{times(low)}–{times(high)}"


def conditions(setting: Setting, rounds: int) -> str:
    """One line of text: device, processor, threads, precision, versions, rounds."""
    found = environment()
    hardware = found["hardware"]
    where = hardware["gpus"][0] if setting.device.type == "cuda" else "CPU"
    return (
        f"{where} ({hardware['cpu']}, {hardware['cores']} cores; torch threads: {torch.get_num_threads()}), "
        f"{'bfloat16 autocast' if setting.bf16 else 'float32'}, torch {torch.__version__}, lth {found['git']}; "
        f"rounds: {rounds}, in the order A B B A"
        f"{'; QUICK: too little work to measure anything' if setting.quick else ''}"
    )


def show(console: Console, findings: Sequence[Finding], line: str) -> None:
    """Print a table for each comparison, which fits into 80 columns."""
    console.print(f"\n{line}", highlight=False)
    for finding in findings:
        table = Table(
            title=f"\n{finding.heading}", title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0)
        )
        for head, width in zip(HEADS, WIDTHS, strict=True):
            table.add_column(head, min_width=width, justify="left" if head == HEADS[0] else "right", overflow="fold")
        for row in finding.rows():
            table.add_row(*row)
        console.print(table)
    console.print(f"\n{LEGEND}", highlight=False)


def markdown(findings: Sequence[Finding], line: str) -> str:
    """The same tables as one Markdown table."""
    heads = ("comparison", *HEADS)
    rows = [
        (finding.heading if first else "", *cells)
        for finding in findings
        for first, cells in zip((True, *[False] * len(finding.comparison.arms)), finding.rows(), strict=False)
    ]
    table = ("| " + " | ".join(row) + " |" for row in (heads, ("---",) * len(heads), *rows))
    return "\n".join([f"{line}. {LEGEND}.", "", *table])
