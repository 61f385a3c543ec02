"""Faults of disks, files and signals. Each occurs in a process of its own; the same command must then end with the same
bits. `python -m tests.faults` tries many and prints the tables of docs/reliability.md."""
