"""Saves the ticket of each level: its masks and the weights that it starts from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lth.callbacks.within.keep_pruned import masked_module
from lth.plan import Level
from lth.pruning.masks import fingerprint
from lth.tickets import Ticket


class KeepTicket(Callback):
    """Saves the masks and the unmasked starting weights to `ticket.safetensors`, after pruning and rewinding.

    Checkpoints hold the ticket's checksums, so that a file exchanged during the level is refused at its end.
    Starting weights that levels share are stored once per run.

    level: the level being trained
    header: provenance, stored in the ticket: network, seeds, method, density
    """

    def __init__(self, level: Level, header: Mapping[str, Any]):
        self.level, self.header = level, dict(header)
        self.path: Path = level.folder / "ticket.safetensors"
        self._module: LightningModule | None = None
        self._saved: dict[str, str] | None = None  # checksums of the ticket; None in checkpoints of earlier versions

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._module = pl_module
        if not trainer.ckpt_path and trainer.is_global_zero:
            module = masked_module(trainer, pl_module, prunes=False)
            missing = getattr(pl_module, "missing_weights", "")
            self._save(Ticket(module.masks.bools(), module.net.state_dict(), self.header, missing))
            self._saved = _checksums(Ticket.load(self.path))

    def state_dict(self) -> dict[str, Any]:
        return {"saved": self._saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = state_dict["saved"]

    def complete(self, masks: Mapping[str, Any], outcome: Mapping[str, Any]) -> None:
        """Update the ticket at the end of the level.

        masks: the masks that the level ended with
        outcome: accuracies, added to the header

        Raises ValueError where the file is not the one that the level saved.
        """
        ticket = Ticket.load(self.path)
        # a score search also changes starting weights: it chooses biases and rescales weights
        others: dict[str, Any] = getattr(self._module, "starting_weights", dict)()
        if self._saved is not None and not self._is_own(ticket, outcome, weights_change=bool(others)):
            lost = f", or {ticket.missing} of its run is lost" if ticket.missing else ""
            raise ValueError(
                f"{self.path} is not the ticket that its level saved{lost}; delete {self.path.parent} to repeat the "
                "level"
            )
        self._save(Ticket(masks, {**ticket.weights, **others}, {**ticket.header, **outcome}, ticket.missing))

    def _save(self, ticket: Ticket) -> None:
        ticket.save(self.path, run=self.level.folder.parent)

    def _is_own(self, ticket: Ticket, outcome: Mapping[str, Any], weights_change: bool) -> bool:
        """Whether a ticket is the one saved at the start, or that ticket as completed by a killed attempt."""
        found, expected = _checksums(ticket), json.loads(json.dumps({**self.header, **outcome}))
        completed = all(ticket.header.get(key) == value for key, value in expected.items())
        same = self._saved is not None and found["weights"] == self._saved["weights"]
        return found == self._saved or (completed and (same or weights_change))


def _checksums(ticket: Ticket) -> dict[str, str]:
    """Checksums of header, masks and all weights; weights are named as in format 1, to match old checkpoints."""
    weights = fingerprint({f"weight/{name}": weight for name, weight in ticket.weights.items()})
    return {**ticket.header["sha256"], "weights": weights}
