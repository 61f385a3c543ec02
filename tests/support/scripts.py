"""Scripts with modules of their own around `lth.levels`, as a user would write them, on data made on the spot."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, Dataset

import lth
from tests.support.tiers import check_not_fast


class Points(Dataset):
    """64 points of eight numbers in two classes, as dicts."""

    def __init__(self) -> None:
        random = torch.Generator().manual_seed(0)
        self.x = torch.randn(64, 8, generator=random)
        self.y = (self.x[:, 0] + 0.3 * torch.randn(64, generator=random) > 0).long()

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"image": self.x[index], "label": self.y[index]}


def points() -> DataLoader:
    """Batches of 16 in the order of torch's random state."""
    return DataLoader(Points(), batch_size=16, shuffle=True)


class Foreign(pl.LightningModule):
    """A module that knows nothing of lth: dict batches, a loss of its own, dropout and batch norm, a frozen part.

    optimizer: function of the parameters that are trained
    schedule: whether a learning-rate schedule steps at the end of each epoch
    """

    def __init__(self, optimizer: Callable[[Any], torch.optim.Optimizer] | None = None, schedule: bool = False):
        super().__init__()
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.body = nn.Sequential(
            nn.Linear(8, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.2), nn.Linear(24, 16), nn.ReLU()
        )
        self.head = nn.Linear(16, 2)
        self.optimizer = optimizer or (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3))
        self.schedule = schedule

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.frozen(x)))

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        loss = cross_entropy(self(batch["image"]), batch["label"]) + 0.01 * self(batch["image"]).square().mean()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        self.log("val_accuracy", (self(batch["image"]).argmax(1) == batch["label"]).float().mean())

    test_step = validation_step

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer([p for p in self.parameters() if p.requires_grad])
        if not self.schedule:
            return optimizer
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.7)]


class TwoOptimizers(Foreign):
    """The same with manual optimization: one optimizer for the body, one for the head, gradients clipped by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: dict[str, Tensor], index: int) -> None:
        for number, optimizer in enumerate(self.optimizers()):
            loss = cross_entropy(self(batch["image"]), batch["label"])
            if number:
                loss = loss + mse_loss(self(batch["image"])[:, 0], batch["image"][:, 0])
            optimizer.zero_grad()
            self.manual_backward(loss)
            self.clip_gradients(optimizer, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
            optimizer.step()

    def configure_optimizers(self) -> Any:
        body = torch.optim.SGD(self.body.parameters(), lr=0.05, momentum=0.9)
        return body, torch.optim.AdamW(self.head.parameters(), lr=0.01)


def trainer(callbacks: Sequence[pl.Callback], **options: Any) -> pl.Trainer:
    """A quiet Trainer on the CPU, of three epochs unless `options` say otherwise."""
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    length = {} if {"max_epochs", "max_steps"} & set(options) else {"max_epochs": 3}
    return pl.Trainer(accelerator="cpu", callbacks=list(callbacks), **quiet, **length, **options)


class Zeros(pl.Callback):
    """Asserts after every batch that pruned weights are zero, and counts the batches.

    masks: of `part`
    part: name of the submodule whose parameter names the masks use; "" = the whole module
    """

    def __init__(self, masks: lth.Masks, part: str = "body"):
        self.masks, self.part, self.seen = masks, part, 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        for name, weight in pl_module.get_submodule(self.part).named_parameters():
            if name in self.masks:
                assert not weight[self.masks[name] == 0].any(), f"{name} at step {trainer.global_step}"
        self.seen += 1


class Dies(pl.Callback):
    """Ends the process with code 9 at the n-th batch, as a kill would."""

    def __init__(self, at: int):
        self.left = at

    def on_train_batch_start(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            os._exit(9)


def ladder(
    folder: Path,
    module: Callable[[], pl.LightningModule] = Foreign,
    densities: Sequence[float] = (1.0, 0.5, 0.2),
    dies_at: int | None = None,
    seed: int = 0,
    options: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    mine: Sequence[Callable[[], pl.Callback]] = (),
    **level_options: Any,
) -> pl.LightningModule:
    """Run a script's ladder in `folder`.

    dies_at: the batch, counted over the levels this process trains, at which it dies
    options: of the Trainer
    settings: further arguments of `lth.levels`
    mine: functions that make a user's callbacks for each level
    level_options: of `level.callbacks`
    """
    check_not_fast()
    torch.set_num_threads(1)
    model, bomb = module(), [Dies(dies_at)] if dies_at else []
    masks = lth.Masks.ones(model.body)
    for level in lth.levels(densities, folder, seed, **(settings or {})):
        watching = [*bomb, *(make() for make in mine), Zeros(masks)]
        ours = level.callbacks(**{"rewind": "1ep", "seconds": 0, **level_options})
        fit = trainer([*watching, lth.callbacks.KeepPruned(masks, net=model.body), *ours], **(options or {}))
        fit.fit(model, points(), points())
        fit.test(model, DataLoader(Points(), batch_size=64), verbose=False)
    return model


@contextmanager
def quietly() -> Iterator[None]:
    """One thread, and no messages or bars of Lightning's."""
    check_not_fast()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
