"""In a fit, batches follow Lightning's epoch, and a resumed run gets the batches of an uninterrupted one."""

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer


class Linear(LightningModule):
    """Trains one layer and records the samples of every epoch and batch."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(192, 5)
        self.seen, self.validated = [], []

    def training_step(self, batch, batch_idx):
        x, y = batch
        self.seen.append((self.current_epoch, batch_idx, x.clone(), y.clone()))
        return torch.nn.functional.cross_entropy(self.layer(x.flatten(1)), y)

    def validation_step(self, batch, batch_idx):
        self.validated.append(batch[0].clone())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Killed(Exception):
    pass


class KillAfter(Callback):
    """Writes a checkpoint after a batch or at the end of an epoch, then raises."""

    def __init__(self, path, epoch, batch):
        self.path, self.epoch, self.batch = path, epoch, batch

    def die(self, trainer):
        trainer.save_checkpoint(self.path)
        raise Killed

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            self.die(trainer)

    def on_train_epoch_end(self, trainer, module):
        if (trainer.current_epoch, "end") == (self.epoch, self.batch):
            self.die(trainer)


def fit(data, callbacks=(), resume_from=None, **limit):
    torch.manual_seed(0)
    module = Linear()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    limit = limit or {"max_epochs": 3}
    trainer = Trainer(accelerator="cpu", num_sanity_val_steps=0, callbacks=list(callbacks), **limit, **quiet)
    trainer.fit(module, data, ckpt_path=resume_from)
    return module


def usual(made, **keys):
    return made(**{"augment": {"crop": 2, "flip": "alternating"}, "val_size": 10, "batch_size": 25, "seed": 1, **keys})


def test_every_epoch_of_every_level_trains_on_its_own_batches(made):
    data = usual(made)
    for level in (0, 1):
        data.level = level
        module, alone = fit(data), usual(made)
        alone.level = level
        loader, expected = alone.train_dataloader(), []
        for epoch in range(3):
            loader.set_epoch(epoch)
            expected += [(epoch, index, x, y) for index, (x, y) in enumerate(loader)]
        assert same(module.seen, expected)
        assert len(module.seen) == 3 * data.steps_per_epoch == 9


def test_validation_is_the_same_in_every_epoch(made):
    shown = fit(usual(made)).validated
    assert len(shown) == 3
    assert torch.equal(shown[0], shown[1])
    assert torch.equal(shown[0], shown[2])


def test_without_validation_a_fit_validates_nothing(made):
    assert fit(made(val_size=0, batch_size=40)).validated == []


@pytest.mark.slow
@pytest.mark.parametrize("limit", [{"max_epochs": 3}, {"max_epochs": -1, "max_steps": 8}], ids=["epochs", "steps"])
@pytest.mark.parametrize(("epoch", "batch"), [(0, 0), (1, 1), (1, 2), (2, 0), (0, "end"), (1, "end")])
@pytest.mark.parametrize("val_size", [0, 10])
def test_a_resumed_fit_sees_the_rest_and_ends_with_the_same_bits(made, tmp_path, epoch, batch, limit, val_size):
    data, path = {"val_size": val_size, "train_size": 60 + val_size}, tmp_path / "last.ckpt"
    whole = fit(usual(made, **data), **limit)
    with pytest.raises(Killed):
        fit(usual(made, **data), [KillAfter(path, epoch, batch)], **limit)
    resumed = fit(usual(made, **data), resume_from=path, **limit)
    done = epoch * 3 + (3 if batch == "end" else batch + 1)
    assert same(resumed.seen, whole.seen[done:])
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), whole.parameters(), strict=True))


def same(one, other):
    return len(one) == len(other) and all(
        left[:2] == right[:2] and torch.equal(left[2], right[2]) and torch.equal(left[3], right[3])
        for left, right in zip(one, other, strict=True)
    )
