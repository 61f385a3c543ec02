"""What was measured, for a terminal, for a page of Markdown and for a program."""

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
from lth.experiment.environment import environment

HEADS = ("arm", "speed", "ratio", "95%", "range", "ops")
WIDTHS = (24, 15, 6, 11, 11, 4)  # characters, at least, so that tables stand under each other
LEGEND = (
    "ratio: throughput of the first arm over this one's, median of the rounds; 95%: bootstrap interval of that median; "
    "range: least and most of the rounds; ops: dispatched in one training step, views aside"
)


@dataclass(frozen=True)
class Finding:
    """A measured comparison; file: its name on the command line."""

    file: str
    measured: Measured

    @property
    def comparison(self) -> Comparison:
        return self.measured.comparison

    @property
    def heading(self) -> str:
        """What was compared, and the aim."""
        aim = f" (aim: {self.comparison.aim})" if self.comparison.aim else ""
        return f"{self.file}, {self.comparison.title}{aim}"

    def ratio(self, reference: Arm) -> Ratio:
        """Throughput of lth over that of `reference`."""
        return ratio_of(self.measured, self.comparison.arms[0], reference)

    def rows(self) -> list[tuple[str, ...]]:
        """Cells under `HEADS`: lth, then each of the arms it is compared with."""
        return [self.row(arm) for arm in self.comparison.arms]

    def row(self, arm: Arm) -> tuple[str, ...]:
        """One arm's cells; the first arm has no ratio, for it would be to itself."""
        spread = ("", "", "")
        if arm is not self.comparison.arms[0]:
            ratio = self.ratio(arm)
            spread = (times(ratio.median), between(ratio.low, ratio.high), between(ratio.least, ratio.most))
        return (arm.name, self.speed(arm), *spread, "" if arm.ops is None else str(arm.ops))

    def speed(self, arm: Arm) -> str:
        """Median over the rounds, as a rate or as the seconds of one turn."""
        rate, unit = median(work_per_second(self.measured, arm)), self.comparison.unit
        return f"{rate:,.0f} {unit}" if unit else f"{arm.work / rate:.4f} s"

    def record(self) -> dict[str, Any]:
        """For a program: lth's ratio to each arm with its spread, and each round's seconds (two turns)."""
        subject, *references = self.comparison.arms
        arms = {
            arm.name: {"seconds": self.measured.rounds[arm.name], "work": 2 * arm.work, "ops": arm.ops}
            for arm in self.comparison.arms
        }
        ratios = {arm.name: self.ratio(arm)._asdict() for arm in references}
        about = {"file": self.file, "title": self.comparison.title, "unit": self.comparison.unit}
        return {**about, "subject": subject.name, "ratios": ratios, "arms": arms}


def times(ratio: float) -> str:
    """Three decimals below ten, one above: 0.953, 23.3."""
    return f"{ratio:.3f}" if ratio < 10 else f"{ratio:.1f}"


def between(low: float, high: float) -> str:
    return f"{times(low)}–{times(high)}"


def conditions(setting: Setting, rounds: int) -> str:
    """One line: device, processor, threads, precision, versions, rounds."""
    found = environment()
    hardware = found["hardware"]
    where = hardware["gpus"][0] if setting.device.type == "cuda" else "CPU"
    return (
        f"{where} ({hardware['cpu']}, {hardware['cores']} cores; torch threads: {torch.get_num_threads()}), "
        f"{'bfloat16 autocast' if setting.bf16 else 'float32'}, torch {torch.__version__}, lth {found['git']}; "
        f"rounds: {rounds}, each there and back (A B B A)"
        f"{'; QUICK: too little work to measure anything' if setting.quick else ''}"
    )


def show(console: Console, findings: Sequence[Finding], line: str) -> None:
    """A table for each comparison, narrow enough for 80 columns."""
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
    """The same table, to be pasted into a page."""
    heads = ("comparison", *HEADS)
    rows = [
        (finding.heading if first else "", *cells)
        for finding in findings
        for first, cells in zip((True, *[False] * len(finding.comparison.arms)), finding.rows(), strict=False)
    ]
    table = ("| " + " | ".join(row) + " |" for row in (heads, ("---",) * len(heads), *rows))
    return "\n".join([f"{line}. {LEGEND}.", "", *table])
