"""The explaining pictures of the site, in the style of the reports: `python -m docs.pages.pictures` writes them.

Densities in the pictures are those of the functions in `lth/pruning` that training uses.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lth.pruning import ladder, paths
from lth.report.figures._style import line_style, styled

FOLDER = Path(__file__).parents[1] / "pictures"
BLUE, ORANGE, GREEN = (line_style(index)["color"] for index in range(3))
Curve = list[tuple[float, float]]
GREY, INK = "#808080", "#2b2b2c"


def svg_text(figure: Any) -> str:
    """A figure as SVG text with a transparent background. Equal figures give equal text."""
    text = io.StringIO()
    styled(figure.savefig)(text, format="svg", transparent=True, metadata={"Date": None})
    return text.getvalue()


def _figure(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, sharex=True, sharey=True)


@styled
def ladder_picture() -> Any:
    """A ladder of levels, and what happens at the boundary of two."""
    figure, axes = _figure(8, 3.4)
    densities = ladder.geometric(0.5, rate=0.2)
    for index, density in enumerate(densities):
        axes.fill_between([index, index + 1], density, color=BLUE, alpha=0.25, linewidth=0)
        axes.plot([index, index + 1], [density, density], color=BLUE, linewidth=2)
        axes.text(index + 0.5, density + 0.025, f"level {index}: {density:.3g}", ha="center")
        axes.text(index + 0.5, 0.08, "one whole training", ha="center", color=GREY)
    for index in range(1, len(densities)):
        axes.axvline(index, color=ORANGE, linestyle="--", linewidth=1)
    arrow = {"arrowstyle": "->", "color": ORANGE, "connectionstyle": "arc3,rad=-0.25"}
    axes.annotate("", xy=(0.05, 0.4), xytext=(1, 0.4), arrowprops=arrow)
    axes.text(0.5, 0.43, "rewind the weights\nto an early step", ha="center", color=ORANGE)
    axes.text(1.04, 1.02, "boundary: score,\nprune, rewind", color=ORANGE, va="center")
    axes.set(xlim=(0, len(densities)), ylim=(0, 1.1), ylabel="density", xlabel="levels, one after another", xticks=[])
    return figure


STEP = (  # title, what acts, whether masks act there
    ("forward\nbackward", "loss of the batch;\ngradients of all weights", False),
    ("read dense\ngradients", "RigL, GraNet:\nwhere to grow", False),
    ("gradients\n× masks", "pruned weights\nget no gradient", True),
    ("clip", "norm of the\nkept weights", False),
    ("optimizer\nstep", "momentum and decay\nof kept weights", False),
    ("weights\n× masks", "pruned weights\nare exactly zero", True),
    ("after the\nstep", "masks move, averages,\nrewind point", False),
)


@styled
def step_picture() -> Any:
    """The parts of a training step, and where masks act."""
    figure, axes = _figure(9, 1.5)
    for index, (title, text, masks) in enumerate(STEP):
        face = ORANGE if masks else BLUE
        box = {"boxstyle": "round,pad=0.45", "facecolor": face, "alpha": 0.25, "edgecolor": face}
        axes.text(index, 0.7, title, ha="center", va="center", bbox=box)
        axes.text(index, 0.12, text, ha="center", va="center", fontsize=7, color=ORANGE if masks else GREY)
        if index:
            axes.annotate(
                "", xy=(index - 0.34, 0.7), xytext=(index - 0.62, 0.7), arrowprops={"arrowstyle": "->", "color": INK}
            )
    axes.set(xlim=(-0.55, len(STEP) - 0.45), ylim=(0, 1))
    axes.axis("off")
    return figure


def _staircase(densities: list[float]) -> Curve:
    each = 1 / len(densities)
    ends = ((index * each, (index + 1) * each, density) for index, density in enumerate(densities))
    return [point for start, end, density in ends for point in ((start, density), (end, density))]


def _path(path: Callable[[float, float, float], float], start: float, end: float, stop: float) -> Curve:
    return [(x / 200, path(x / 200 / stop, start, end)) for x in range(201)]


def families() -> Iterator[tuple[str, str, Curve, list[float]]]:
    """Name, what changes and when, density during the whole training, and where masks change otherwise."""
    low, updates = 0.1, [x / 100 for x in range(2, 75, 6)]
    constant = [(0.0, low), (1.0, low)]
    levels = ladder.geometric(low, rate=0.4)
    yield ("iterative (IMP, WR, LRR)", "masks and weights\nat each boundary", _staircase(levels), [])
    yield ("one shot (OMP)", "masks once,\nafter training", _staircase([1.0, low]), [])
    yield ("at initialisation (SNIP, ERK)", "masks once,\nbefore training", constant, [])
    yield ("drop and grow (SET, RigL)", "masks move at updates,\ndensity stays", constant, updates)
    yield ("gradual (GMP, AGP)", "masks shrink\nwithin one training", _path(paths.cubic, 1.0, low, 0.75), updates)
    yield ("GraNet", "masks shrink and move", _path(paths.cubic, 0.5, low, 0.75), updates)
    yield ("learned thresholds (STR)", "thresholds rise\nin every step", _path(paths.cubic, 1.0, low, 0.5), [])
    yield (
        "strong tickets (edge-popup)",
        "scores train, weights stay;\nthen fine-tuning",
        constant,
        [x / 200 for x in range(2, 100, 2)],
    )


@styled
def families_picture() -> Any:
    """What each family changes, and when."""
    figure, grid = _figure(9, 4.6, columns=4, rows=2)
    for axes, (name, text, curve, moves) in zip(grid.flat, families(), strict=True):
        x, y = zip(*curve, strict=True)
        axes.fill_between(x, y, color=BLUE, alpha=0.25, linewidth=0)
        axes.plot(x, y, color=BLUE, linewidth=2)
        axes.plot(moves, [0.06] * len(moves), "|", color=ORANGE, markersize=7)
        axes.set_title(name, fontsize=9)
        axes.text(0.96, 0.93, text, ha="right", va="top", fontsize=8, color=GREY, transform=axes.transAxes)
        axes.set(xlim=(0, 1), ylim=(0, 1.08), xticks=[0, 1], xticklabels=["start", "end"], yticks=[0, 0.5, 1])
    figure.supylabel("density", fontsize=9)
    figure.supxlabel("whole training, all levels (orange: masks move)", fontsize=9)
    return figure


PICTURES: dict[str, Callable[[], Any]] = {
    "ladder.svg": ladder_picture,
    "step.svg": step_picture,
    "families.svg": families_picture,
}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (FOLDER / name).write_text(svg_text(draw()))
