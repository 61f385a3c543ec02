"""Training metrics that cost the hot path six small ops and no host synchronisation."""

import torch
from torch import Tensor

from lth.training.ranks import sum_over_ranks


class TrainingMetrics:
    """Loss sum, correct predictions and sample count of an epoch, accumulated on the device, read once at its end."""

    def __init__(self) -> None:
        self.sums: Tensor | None = None
        self.count = 0

    def reset(self, device: torch.device) -> None:
        """Start an epoch."""
        self.sums = torch.zeros(2, device=device)
        self.loss, self.correct = self.sums[0], self.sums[1]
        self.count = 0

    @torch.no_grad()
    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add one batch; `loss` is its mean."""
        self.loss.add_(loss.detach(), alpha=len(labels))
        self.correct.add_(logits.argmax(1).eq(labels).sum())
        self.count += len(labels)

    def read(self) -> dict[str, float]:
        """Mean loss and accuracy since `reset`, over all ranks. Synchronises with the device."""
        assert self.sums is not None
        loss, correct, count = sum_over_ranks(torch.cat([self.sums, self.sums.new_tensor([self.count])])).tolist()
        return {"train_loss": round(loss / count, 7), "train_accuracy": round(correct / count, 7)}
