"""Callbacks that record, save and check, and change nothing that is trained."""
