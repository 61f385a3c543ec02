"""Lottery-ticket and pruning research in one PyTorch Lightning + Hydra harness."""

__version__ = "0.2.0"
