"""Writes a level's ticket at its start, when the weights it trains from are in memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lth.plan import Level
from lth.tickets import Ticket


class KeepTicket(Callback):
    """Saves masks and starting weights (unmasked) to `ticket.safetensors`, after pruning and rewinding."""

    def __init__(self, level: Level, header: Mapping[str, Any]):
        self.level, self.header = level, dict(header)
        self.path: Path = level.folder / "ticket.safetensors"
        self._module: LightningModule | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._module = pl_module
        if not trainer.ckpt_path and trainer.is_global_zero:
            Ticket(pl_module.masks.bools(), pl_module.net.state_dict(), self.header).save(self.path)

    def complete(self, masks: Mapping[str, Any], outcome: Mapping[str, Any]) -> None:
        """Give the ticket the masks the level ended with, and what it reached."""
        ticket = Ticket.load(self.path)
        # of a search: the biases it chose, the weights it scaled
        others: dict[str, Any] = getattr(self._module, "starting_weights", dict)()
        Ticket(masks, {**ticket.weights, **others}, {**ticket.header, **outcome}).save(self.path)
