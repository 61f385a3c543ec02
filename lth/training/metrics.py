"""Metrics of training and evaluation, accumulated on the device.

Training metrics cost six small operations in each step and no synchronisation with the host.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from lth.training.ranks import sum_over_ranks


class TrainingMetrics:
    """Sums of loss, correct predictions and samples over an epoch, accumulated on the device."""

    def __init__(self) -> None:
        self.sums: Tensor | None = None
        self.count = 0

    def reset(self, device: torch.device) -> None:
        """Start an epoch, with sums on `device`."""
        self.sums = torch.zeros(2, device=device)
        self.loss, self.correct = self.sums[0], self.sums[1]
        self.count = 0

    @torch.no_grad()
    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add one batch. loss: its mean; logits: samples x classes; labels: class indices."""
        self.loss.add_(loss.detach(), alpha=len(labels))
        self.correct.add_(logits.argmax(1).eq(labels).sum())
        self.count += len(labels)

    def read(self) -> dict[str, float]:
        """Mean loss and accuracy (0..1) since `reset`, over all ranks. Synchronises with the device."""
        assert self.sums is not None
        loss, correct, count = sum_over_ranks(torch.cat([self.sums, self.sums.new_tensor([self.count])])).tolist()
        return {"train_loss": round(loss / count, 7), "train_accuracy": round(correct / count, 7)}


class EvaluationMetrics(nn.Module):
    """Loss, accuracy and top-5 accuracy of a validation or a test.

    stage: prefix of the metrics' names, `val` or `test`
    classes: number of classes
    """

    def __init__(self, stage: str, classes: int):
        super().__init__()

        def accuracy(top: int) -> MulticlassAccuracy:
            return MulticlassAccuracy(classes, top_k=min(top, classes), average="micro", validate_args=False)

        metrics = {"loss": MeanMetric(nan_strategy="disable"), "accuracy": accuracy(1), "top5": accuracy(5)}
        named = {f"{stage}_{name}": metric for name, metric in metrics.items()}
        self.stage, self.metrics = stage, MetricCollection(named, compute_groups=False)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add one batch. logits: samples x classes; labels: class indices."""
        logits = logits.float()
        # one loss per sample: with nan_strategy="disable" torchmetrics would ignore the weight of a batch mean
        self.metrics[f"{self.stage}_loss"].update(cross_entropy(logits, labels, reduction="none"))
        for name in (f"{self.stage}_accuracy", f"{self.stage}_top5"):
            self.metrics[name].update(logits, labels)

    def read(self) -> dict[str, float]:
        """Mean loss and accuracies (0..1) since the last call, over all ranks. Synchronises with the device."""
        # float32 has seven digits; unrounded, 0.97 would print as 0.9700000286
        values = {name: round(float(value), 7) for name, value in self.metrics.compute().items()}
        self.metrics.reset()
        return values
