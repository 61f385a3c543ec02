"""Checks the masks that a level starts with for empty layers and for a network without a path to its output."""

import logging
from collections.abc import Callable
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from torch import nn

from lth.analysis.layers import layer_table
from lth.plan import Level
from lth.pruning import Masks

_SHOWN = 5  # names in a line
log = logging.getLogger(__name__)
COLUMNS = {
    "layer": "layer",
    "kept": "kept",
    "density": "density",
    "effective": "on a path",
    "dead_outputs": "no input",
    "dead_inputs": "no reader",
    "macs_kept": "mult-adds",
}
_IMPORTANCE = ("layer", "density", "kept", "macs_kept", "effective", "dead_outputs", "dead_inputs")


class LayerReport(Callback):
    """Warns before training of empty layers or a cut network; prints the layer table if the first level is pruned.

    Before the first level it also prints the share of matrix elements that no mask covers, if there are any.

    level: the level being trained
    image_shape: channels, height and width of an image
    console: where the table is printed
    print_table: function that prints rows to `console`, such as `lth.report.output.print_table`
    allow_dead: False raises ValueError instead of the warning
    """

    def __init__(
        self,
        level: Level,
        image_shape: tuple[int, int, int],
        console: Console,
        print_table: Callable[..., None],
        allow_dead: bool = True,
    ):
        self.level, self.image_shape, self.allow_dead = level, image_shape, allow_dead
        self.console, self.print_table = console, print_table
        self._known: tuple[str, list[dict[str, Any]]] = "", []  # digest of masks, their table

    def table(self, net: nn.Module, masks: Masks) -> list[dict[str, Any]]:
        """The layer table of the level's network; computed again only if the masks have changed."""
        digest = masks.digest()
        if digest != self._known[0]:
            self._known = digest, layer_table(net, masks, self.image_shape)
        return self._known[1]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path:
            return
        table = self.table(pl_module.net, pl_module.masks)
        problem = _collapse(table)
        if problem and not self.allow_dead:
            raise ValueError(
                f"level {self.level.index} ({self.level.name}): {problem} (allow_dead=true trains it anyway)"
            )
        if problem and trainer.is_global_zero:
            log.warning("level %d (%s): %s", self.level.index, self.level.name, problem)
        if self.level.first and pl_module.masks.density < 1 and trainer.is_global_zero:
            self.print_table(self.console, _with_total(table), COLUMNS, "layers", _IMPORTANCE)
        if self.level.first and trainer.is_global_zero and (left := _outside(pl_module.net, pl_module.masks)):
            self.console.print(left, markup=False, highlight=False, soft_wrap=True)


def _collapse(table: list[dict[str, Any]]) -> str:
    """Describe empty layers or a cut network, given the layer table; an empty string if there are none."""
    empty = [row["layer"] for row in table if row["kept"] == 0]
    if all(row["effective"] == 0 for row in table):
        return f"the network is cut from input to output; empty layers: {empty}"
    return f"empty layers: {empty}" if empty else ""


def _outside(net: nn.Module, masks: Masks) -> str:
    """Say which share of the elements of matrices no mask covers, and the largest of them; empty if there are none."""
    left = masks.uncovered(net)
    if not left:
        return ""
    matrices = sum(left.values()) + sum(mask.numel() for mask in masks.values())
    largest = sorted(left, key=lambda name: -left[name])
    names = ", ".join(largest[:_SHOWN]) + (", ..." if len(largest) > _SHOWN else "")
    return f"masks leave out {sum(left.values()) / matrices:.1%} of the elements of matrices: {names}"


def _with_total(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The layer table with a last row of totals."""
    sums = {key: sum(row[key] or 0 for row in table) for key in COLUMNS if key != "layer"}
    return [*table, {"layer": "total", **sums, "density": sums["kept"] / sum(row["total"] for row in table)}]
