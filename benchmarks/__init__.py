"""Throughput of lth against other ways to do the same work, measured in turn in one process.

`python -m benchmarks` runs every comparison, `python -m benchmarks topk data` some. A comparison is a file in
`benchmarks/comparisons/` with a function `comparisons(setting)` that yields `Comparison`s; nothing else names it.
"""
