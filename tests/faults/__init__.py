"""Faults of disks, files and signals: each is met in a process of its own, and what is left must go on to the same
bits. `python -m tests.faults` tries many and prints the tables of docs/reliability.md."""
