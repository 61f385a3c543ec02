"""The style of all pictures: colours, markers, fonts, axes."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

# Readable on white and on black; colour-blind readers tell them apart by the markers (after Okabe and Ito).
_COLOURS = (
    "#0a84c6",
    "#e07b00",
    "#1b9e77",
    "#cc4778",
    "#8f6bd1",
    "#b8860b",
    "#4d9de0",
    "#e15554",
    "#6b8e23",
    "#8c8c8c",
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h", "d")
_DASHES = ("-", "--", ":", "-.")
_INK = "#2b2b2c"  # text and axes
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "lth",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#808080",
    "legend.frameon": False,
}
_ERROR_OFFSET = 1.01  # the error axis shows -log10(1.01 - accuracy), so that accuracy 1 has a finite position
_TICKS_Y = (0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.97, 0.98, 0.99, 1)
_TICKS_X = (0, 0.4, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1)  # fewer, because the numbers stand side by side


def styled(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: run `draw` under the style and restore matplotlib's settings afterwards."""

    @wraps(draw)
    def drawn(*args: Any, **options: Any) -> Any:
        from matplotlib import rc_context  # imported here: it takes a second

        with rc_context(_STYLE):
            return draw(*args, **options)

    return drawn


def line_style(index: int) -> dict[str, Any]:
    """Colour, marker and dashes of the `index`-th line: colours change first, then dashes."""
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": _DASHES[index // len(_COLOURS) % len(_DASHES)],
        "markersize": 4,
    }


def density_axis(axes: Any, densities: Sequence[float]) -> None:
    """Make the x axis one of density: logarithmic, falling, with ticks 1, 0.5, 0.2, 0.1, ... down to the lowest."""
    axes.set(xscale="log", xlabel="density (fraction of prunable weights kept)")
    lowest = min(densities, default=1.0)
    ticks = [t for power in range(6) for t in (10.0**-power, 5 * 10.0 ** -(power + 1), 2 * 10.0 ** -(power + 1))]
    shown = [tick for tick in ticks if tick >= lowest * 0.99]
    axes.set_xticks(shown, labels=[f"{tick:g}" for tick in shown])
    axes.set_xticks([], minor=True)
    axes.invert_xaxis()
    axes.grid(alpha=0.3)


def error_axis(axes: Any, which: str, top: float) -> None:
    """Make an axis of accuracies logarithmic in the error, so that good networks can be told apart.

    which: "x" or "y"
    top: largest accuracy shown, 0..1
    """
    ticks = [t for t in (_TICKS_Y if which == "y" else _TICKS_X) if t <= top]
    getattr(axes, f"set_{which}scale")("function", functions=(_height, _accuracy))
    getattr(axes, f"set_{which}ticks")(ticks, [f"{tick:g}" for tick in ticks])


def _height(accuracy: Any) -> Any:
    import numpy as np

    return -np.log10(np.maximum(_ERROR_OFFSET - np.asarray(accuracy), 1e-4))


def _accuracy(height: Any) -> Any:
    import numpy as np

    return _ERROR_OFFSET - 10.0 ** -np.asarray(height)
