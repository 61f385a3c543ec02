"""Structured pruning: weights leave in whole units (filters, channels, kernels, blocks), not one by one."""
