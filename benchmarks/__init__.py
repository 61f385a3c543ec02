"""Throughput of lth compared with other implementations of the same work, measured alternately in one process.

`python -m benchmarks` runs all comparisons, `python -m benchmarks topk data` some. A new one is a file in
`benchmarks/comparisons/` with a function `comparisons(setting)` that yields `Comparison`s.
"""
