"""Structured pruning: weights are removed in whole units (filters, channels, kernels, blocks), not one by one."""
