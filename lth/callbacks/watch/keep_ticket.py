"""Saves the ticket of each level: its masks and the weights that it starts from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lth.callbacks.within.keep_pruned import masked_module
from lth.plan import Level
from lth.tickets import Ticket


class KeepTicket(Callback):
    """Saves the masks and the unmasked starting weights to `ticket.safetensors`, after pruning and rewinding.

    level: the level being trained
    header: provenance, stored in the ticket: network, seeds, method, density
    """

    def __init__(self, level: Level, header: Mapping[str, Any]):
        self.level, self.header = level, dict(header)
        self.path: Path = level.folder / "ticket.safetensors"
        self._module: LightningModule | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._module = pl_module
        if not trainer.ckpt_path and trainer.is_global_zero:
            module = masked_module(trainer, pl_module, prunes=False)
            Ticket(module.masks.bools(), module.net.state_dict(), self.header).save(self.path)

    def complete(self, masks: Mapping[str, Any], outcome: Mapping[str, Any]) -> None:
        """Update the ticket at the end of the level.

        masks: the masks that the level ended with
        outcome: accuracies, added to the header
        """
        ticket = Ticket.load(self.path)
        # a score search also changes starting weights: it chooses biases and rescales weights
        others: dict[str, Any] = getattr(self._module, "starting_weights", dict)()
        Ticket(masks, {**ticket.weights, **others}, {**ticket.header, **outcome}).save(self.path)
