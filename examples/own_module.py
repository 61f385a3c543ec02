"""Iterative magnitude pruning of a LightningModule of one's own: `python examples/own_module.py`.

Lines that use lth end in a comment. A script that was killed resumes when it is started again.
"""

import sys

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset, random_split

import lth  # lth 1


class Digits(pl.LightningDataModule):
    """scikit-learn's images of handwritten digits, split by a fixed seed."""

    def setup(self, stage: str) -> None:
        images, labels = load_digits(return_X_y=True)
        every = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels))
        parts = random_split(every, [1200, 297, 300], torch.Generator().manual_seed(0))
        self.train, self.val, self.test = parts

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, batch_size=60, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val, batch_size=300)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.test, batch_size=300)


class Module(pl.LightningModule):
    """A perceptron with dropout, trained by AdamW on a schedule."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Dropout(0.1), nn.Linear(100, 10))

    def training_step(self, batch, index):
        return cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val_accuracy", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())

    def test_step(self, batch, index):
        self.log("test_accuracy", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)]


def main(folder: str = "runs/own_module") -> None:
    """Train the ladder in `folder`."""
    torch.manual_seed(0)  # of the initial weights
    model, data = Module(), Digits()
    masks = lth.Masks.ones(model)  # lth 2
    for level in lth.levels(lth.geometric(0.05, rate=0.5), folder):  # lth 3
        keep = lth.callbacks.KeepPruned(masks)  # lth 4
        ours = level.callbacks(criterion=lth.criteria.magnitude, rewind="1ep")  # lth 5
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = pl.Trainer(max_epochs=10, callbacks=[keep, *ours], enable_checkpointing=False, **quiet)
        trainer.fit(model, data)
        trainer.test(model, data, verbose=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
