"""Exact top-k selection within each segment of a tensor."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad


def largest_of_segments(values: Tensor, sizes: Sequence[int], counts: Sequence[int], exact: bool = True) -> Tensor:
    """A bool mask of the `counts[i]` largest entries of each segment i.

    values: 1-D, the segments one after another; without negative zeros
    sizes: length of each segment
    counts: number of entries to select in each segment
    exact: whether exactly that number is selected, also among ties

    Ties go to lower indices if `exact`. Otherwise only entries over the (counts[i] + 1)-th largest one are selected, so
    that entries equal to it are left out.
    """
    if values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64):
        parts = zip(values.split(list(sizes)), counts, strict=True)
        return torch.cat([torch.from_numpy(_largest_on_cpu(part.numpy(), count, exact)) for part, count in parts])
    return _largest_on_device(values, sizes, counts, exact)


def _largest_on_cpu(values: NDArray[Any], count: int, exact: bool) -> NDArray[np.bool_]:
    """`largest_of_segments` of one segment. NumPy's partition takes a tenth of the time of `torch.kthvalue`."""
    rank = len(values) - (count if exact else count + 1)  # of the threshold in ascending order, from 0
    if rank < 0 or not count:
        return np.full(len(values), rank < 0)
    threshold = np.partition(values, rank)[rank]
    if not exact:
        return values > threshold
    kept: NDArray[np.bool_] = values >= threshold
    surplus = np.count_nonzero(kept) - count
    if surplus > 0:
        kept[np.flatnonzero(values == threshold)[-surplus:]] = False
    return kept


def _largest_on_device(values: Tensor, sizes: Sequence[int], counts: Sequence[int], exact: bool) -> Tensor:
    """`largest_of_segments` without synchronisation with the host.

    The threshold of each segment is found separately. All further operations cover all segments together.
    """
    parts = values.split(list(sizes))
    thresholds = [_nth_largest(part, count if exact else count + 1) for part, count in zip(parts, counts, strict=True)]
    lengths, ends, wanted = _on_device(tuple(sizes), tuple(counts), values.device)
    segment = torch.repeat_interleave(lengths, output_size=len(values))  # the segment of each entry
    threshold = torch.stack(thresholds).index_select(0, segment)
    over = values > threshold
    if not exact:
        return over
    tied = values == threshold
    seen = torch.stack([over, tied]).cumsum(1, dtype=torch.int32)  # half the time that int64 takes
    upto = pad(seen[:, ends], (1, 0))  # counts of both up to each segment's end, with 0 before the first
    last = wanted - upto[0, 1:] + upto.sum(0)[:-1]  # number of ties, over all segments, up to each segment's last kept
    return over | (tied & (seen[1] <= last.index_select(0, segment)))


def _nth_largest(values: Tensor, n: int) -> Tensor:
    """The n-th largest of `values` (1-D): infinity for n = 0, minus infinity where there are fewer than n."""
    if 0 < n <= len(values):
        return values.kthvalue(len(values) - n + 1).values
    return torch.full_like(values[0], -torch.inf if n else torch.inf)


@lru_cache(maxsize=4)
def _on_device(sizes: tuple[int, ...], counts: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Lengths, last indices and counts of segments, cached: copying them to the device in each step would cost time."""
    lengths = torch.tensor(sizes, device=device)
    return lengths, lengths.cumsum(0) - 1, torch.tensor(counts, device=device)
