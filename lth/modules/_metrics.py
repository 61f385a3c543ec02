"""Metrics of training and evaluation, accumulated on the device.

Training metrics cost four small operations in each step, a few more in some, and no synchronisation with the host.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import MeanMetric, MetricCollection

from lth.training.ranks import sum_over_ranks

_COUNTED_TOGETHER = 2**18  # logits of several batches whose correct predictions are counted at once: 1 MB as float32


class TrainingMetrics:
    """Sums of loss, correct predictions and samples over an epoch, accumulated on the device."""

    def __init__(self) -> None:
        self.sums: Tensor | None = None
        self.count = 0

    def reset(self, device: torch.device) -> None:
        """Start an epoch, with sums on `device`."""
        self.sums = torch.zeros(2, device=device)
        self.loss, self.correct = self.sums[0], self.sums[1]
        self.count, self._uncounted = 0, 0
        self._batches: list[tuple[Tensor, Tensor]] = []  # logits and labels that `correct` does not include yet

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add one batch. loss: its mean; logits: samples x classes; labels: class indices."""
        self.loss.add_(loss.detach(), alpha=len(labels))
        self._batches.append((logits.detach(), labels.clone()))  # loaders such as FFCV's reuse the memory of a batch
        self.count += len(labels)
        self._uncounted += logits.numel()
        if self._uncounted >= _COUNTED_TOGETHER:
            self._count_correct()

    def _count_correct(self) -> None:
        logits, labels = map(torch.cat, zip(*self._batches, strict=True))
        self.correct.add_(logits.argmax(1).eq(labels).sum())
        self._batches, self._uncounted = [], 0

    def read(self) -> dict[str, float]:
        """Mean loss and accuracy (0..1) since `reset`, over all ranks. Synchronises with the device."""
        assert self.sums is not None
        if self._batches:
            self._count_correct()
        loss, correct, count = sum_over_ranks(torch.cat([self.sums, self.sums.new_tensor([self.count])])).tolist()
        return {"train_loss": round(loss / count, 7), "train_accuracy": round(correct / count, 7)}


class EvaluationMetrics(nn.Module):
    """Loss, accuracy and top-5 accuracy of a validation or a test.

    stage: prefix of the metrics' names, `val` or `test`
    classes: number of classes
    """

    def __init__(self, stage: str, classes: int):
        super().__init__()
        self.loss, self.accuracy, self.top5 = f"{stage}_loss", f"{stage}_accuracy", f"{stage}_top5"
        means = {name: MeanMetric(nan_strategy="disable") for name in (self.loss, self.accuracy, self.top5)}
        self.metrics = MetricCollection(means, compute_groups=False)
        self.top = min(5, classes)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add one batch. logits: samples x classes; labels: class indices."""
        logits = logits.float()
        # one loss per sample: with nan_strategy="disable" torchmetrics would ignore the weight of a batch mean
        self.metrics[self.loss].update(cross_entropy(logits, labels, reduction="none"))
        self.metrics[self.accuracy].update(logits.argmax(1).eq(labels))
        self.metrics[self.top5].update(logits.topk(self.top, dim=1).indices.eq(labels[:, None]).any(1))

    def read(self) -> dict[str, float]:
        """Mean loss and accuracies (0..1) since the last call, over all ranks. Synchronises with the device."""
        # float32 has seven digits; unrounded, 0.97 would print as 0.9700000286
        values = {name: round(float(value), 7) for name, value in self.metrics.compute().items()}
        self.metrics.reset()
        return values
