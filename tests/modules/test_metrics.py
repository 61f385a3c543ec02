"""Metrics of training and validation equal a slow count over single samples, however these fall into batches."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from lth.modules import _metrics
from lth.modules._metrics import EvaluationMetrics, TrainingMetrics

CLASSES = 7


def batches(*sizes):
    random = torch.Generator().manual_seed(0)
    return [
        (torch.randn(size, CLASSES, generator=random), torch.randint(CLASSES, (size,), generator=random))
        for size in sizes
    ]


def slowly(given, top):
    """Fraction of the samples whose label is among the `top` largest logits."""
    hits = [
        sorted(range(CLASSES), key=lambda c: -float(row[c]))[:top].count(int(label))
        for logits, labels in given
        for row, label in zip(logits, labels, strict=True)
    ]
    return sum(hits) / len(hits)


@pytest.mark.parametrize("together", [1, 100, 10**6])  # logits: every batch by itself, some batches, all batches
def test_training_metrics_are_means_over_the_samples_of_an_epoch(together, monkeypatch):
    monkeypatch.setattr(_metrics, "_COUNTED_TOGETHER", together)
    given, counted = batches(10, 3, 10, 8), TrainingMetrics()
    reused = torch.empty(10, dtype=torch.long)  # a loader's memory, which the next batch overwrites
    for _ in range(2):
        counted.reset(torch.device("cpu"))
        for logits, labels in given:
            reused[: len(labels)] = labels
            counted.update(cross_entropy(logits, labels), logits, reused[: len(labels)])
        read = counted.read()
    loss = sum(float(cross_entropy(logits, labels, reduction="sum")) for logits, labels in given) / 31
    assert read["train_accuracy"] == pytest.approx(slowly(given, 1), abs=1e-6)
    assert read["train_loss"] == pytest.approx(loss, abs=1e-5)


def test_evaluation_metrics_are_means_over_all_samples_and_begin_anew_after_reading():
    given, measured = batches(10, 3, 8), EvaluationMetrics("val", CLASSES)
    for _ in range(2):
        for logits, labels in given:
            measured.update(logits, labels)
        read = measured.read()
    assert read["val_accuracy"] == pytest.approx(slowly(given, 1), abs=1e-6)
    assert read["val_top5"] == pytest.approx(slowly(given, 5), abs=1e-6)
    loss = sum(float(cross_entropy(logits, labels, reduction="sum")) for logits, labels in given) / 21
    assert read["val_loss"] == pytest.approx(loss, abs=1e-5)
