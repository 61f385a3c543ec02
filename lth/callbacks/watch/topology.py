"""Records per layer and epoch how the masks change within a level."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lth.plan import Level


class WatchTopology(Callback):
    """Records density, churn and the in-time over-parametrisation rate of each layer, once per epoch.

    level: the level being trained

    Columns of topology.csv:
      churn: fraction of the kept weights that were not kept at the previous record
      ever_active: fraction of a layer's weights that were kept at any time in the level (R_s of arXiv 2102.02887)
    """

    def __init__(self, level: Level):
        self.level = level
        self.before: dict[str, Tensor] = {}
        self.ever: dict[str, Tensor] = {}
        self.records: list[dict[str, Any]] = []
        self._changes = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        now = pl_module.current_masks()
        self._changes = pl_module.changes
        if not self.before:
            self.before, self.ever = now, {name: kept.clone() for name, kept in now.items()}
            return
        self.before = {name: kept.to(now[name].device) for name, kept in self.before.items()}
        self.ever = {name: kept.to(now[name].device) for name, kept in self.ever.items()}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if pl_module.changes > self._changes:
            self._changes = pl_module.changes
            self._look(pl_module.current_masks())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        summary = pl_module.summary()
        if not summary:  # after resuming at the end of an epoch that was already recorded
            return
        now = pl_module.current_masks()
        self._look(now)
        counts = [[_count(k), _count(k & ~self.before[n]), _count(self.ever[n])] for n, k in now.items()]
        self.before = now
        record = {"epoch": trainer.current_epoch, "step": trainer.global_step, "counts": counts}
        totals = [k.numel() for k in now.values()]
        self.records.append(record | {"of_layers": pl_module.layer_columns(), "totals": totals})
        kept, new, ever = (sum(column) for column in zip(*counts, strict=True))
        summary |= {"churn": new / max(1, kept), "ever_active": ever / sum(k.numel() for k in now.values())}
        self.layers = list(now)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of topology.csv: one per record and layer, and one per record for all layers together."""
        rows = []
        for record in self.records:
            when = {"epoch": record["epoch"], "step": record["step"]}
            for i, layer in enumerate(self.layers):
                own = {column: values[i] for column, values in record["of_layers"].items()}
                rows.append({**when, "layer": layer, **_row(record["totals"][i], *record["counts"][i]), **own})
            sums = (sum(column) for column in zip(*record["counts"], strict=True))
            rows.append({**when, "layer": "total", **_row(sum(record["totals"]), *sums)})
        return rows

    def state_dict(self) -> dict[str, Any]:
        held = {"before": self.before, "ever": self.ever}
        return {name: {n: t.cpu() for n, t in tensors.items()} for name, tensors in held.items()} | {
            "records": self.records,
            "layers": list(self.before),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.before, self.ever = state_dict["before"], state_dict["ever"]
        self.records, self.layers = state_dict["records"], state_dict["layers"]

    def _look(self, now: dict[str, Tensor]) -> None:
        for name, kept in now.items():
            self.ever[name] |= kept


def _count(kept: Tensor) -> int:
    return int(torch.count_nonzero(kept))


def _row(total: int, kept: int, new: int, ever: int) -> dict[str, Any]:
    return {
        "total": total,
        "kept": kept,
        "density": kept / total,
        "churn": new / max(1, kept),
        "ever_active": ever / total,
    }
