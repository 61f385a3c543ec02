"""Measurements of networks, masks and tickets: layers, cost, sensitivity, connectivity, overlap, statistics."""
