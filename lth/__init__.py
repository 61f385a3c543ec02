"""Lottery-ticket and pruning research in one PyTorch Lightning + Hydra harness."""
