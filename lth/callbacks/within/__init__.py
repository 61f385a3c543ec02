"""Callbacks that change masks, weights or scores within a level."""
