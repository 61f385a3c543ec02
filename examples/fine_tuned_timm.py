"""A timm network with weights from disk, fine-tuned on another task and pruned to a fifth of its convolution weights.

`python examples/fine_tuned_timm.py WEIGHTS`, where WEIGHTS is a state dict of the network in the safetensors format.
"""

import sys

import pytorch_lightning as pl
import timm
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy, interpolate
from torch.utils.data import DataLoader, TensorDataset

import lth


class FineTuned(pl.LightningModule):
    """The network with a new head for ten classes. Its stem stays as it was trained."""

    def __init__(self, name: str, weights: str) -> None:
        super().__init__()
        self.net = timm.create_model(name, num_classes=10)
        wanted = self.net.state_dict()
        stored = {key: value for key, value in load_file(weights).items() if value.shape == wanted[key].shape}
        self.net.load_state_dict({**wanted, **stored})
        self.net.conv1.requires_grad_(False)

    def training_step(self, batch, index):
        return cross_entropy(self.net(batch[0]), batch[1], label_smoothing=0.1)

    def test_step(self, batch, index):
        self.log("test_accuracy", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        trained = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.SGD(trained, lr=0.02, momentum=0.9, weight_decay=1e-4)


def loaders(size: int) -> tuple[DataLoader, DataLoader]:
    """Training and test batches of scikit-learn's digits as RGB images of `size` pixels."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8).expand(-1, 3, -1, -1)
    x, y = interpolate(x, size, mode="bilinear"), torch.tensor(labels)
    parts = TensorDataset(x[:1497], y[:1497]), TensorDataset(x[1497:], y[1497:])
    return DataLoader(parts[0], 64, shuffle=True), DataLoader(parts[1], 300)


def main(weights: str, folder: str = "runs/fine_tuned_timm", name: str = "resnet10t", epochs: int = 3) -> None:
    """Fine-tune densely, then prune and go on at each of two densities, without rewinding."""
    model, (train, test) = FineTuned(name, weights), loaders(32)
    masks = lth.Masks.ones(model.net, exclude=["@first", "@head"])
    for level in lth.levels([1.0, 0.5, 0.2], folder, model=name, dataset="digits"):
        callbacks = [lth.callbacks.KeepPruned(masks), *level.callbacks(rewind=None)]
        trainer = pl.Trainer(max_epochs=epochs, callbacks=callbacks, enable_checkpointing=False, logger=False)
        trainer.fit(model, train)
        trainer.test(model, test, verbose=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
