"""Exact selection of the largest scores by radix select: two or four 16-bit histograms instead of a sort.

Takes under 0.2 s for 25.5 million float32 scores on one core, a third of `torch.topk`, without a copy of all scores in
one tensor. Among equal scores the lower flat index is selected, so that counts are exact.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

Scores = Mapping[str, Tensor]

_DIGIT = 16
_PIECE = 1 << 18  # keys of a piece: 1 MiB of 32-bit keys


class Ranked(dict[str, Tensor]):
    """Scores with cached sort keys and threshold, so that the selection reuses what the allocation computed."""

    order: "_Order | None" = None
    threshold: int | None = None


class _Order(NamedTuple):
    """Integer keys that sort like the scores, one flat tensor per layer, and the number of scores that are not -inf."""

    keys: dict[str, Tensor]
    available: int


def counts_of_largest(scores: Scores, k: int) -> dict[str, int]:
    """How many of the `k` largest scores over all layers fall in each layer."""
    keys = _order(scores, k).keys
    threshold, ties, tied = _kth_largest(list(keys.values()), k)
    if isinstance(scores, Ranked):
        scores.threshold = threshold
    if ties == tied:
        return {name: int(torch.count_nonzero(key >= threshold)) for name, key in keys.items()}
    counts = {}
    for name, key in keys.items():
        here = min(ties, int(torch.count_nonzero(key == threshold)))
        counts[name] = int(torch.count_nonzero(key > threshold)) + here
        ties -= here
    return counts


def largest(scores: Scores, k: int) -> dict[str, Tensor]:
    """Bool tensors that mark the `k` largest scores over all layers.

    Raises ValueError if fewer than `k` scores are above -inf, and for NaN and +inf.
    """
    keys = _order(scores, k).keys
    threshold, ties, tied = _kth_largest(list(keys.values()), k)
    marked = {}
    for name, key in keys.items():
        keep = key >= threshold
        if ties != tied:
            at = (key == threshold).nonzero().squeeze(1)
            keep[at[ties:]] = False
            ties, tied = max(0, ties - len(at)), max(0, tied - len(at))
        marked[name] = keep.view(scores[name].shape)
    return marked


def largest_of_each(scores: Ranked, counts: Mapping[str, int]) -> dict[str, Tensor]:
    """Bool tensors that mark the `counts[name]` largest scores of each layer."""
    return {name: _cut(scores, name, counts[name]) for name in scores}


def _cut(scores: Ranked, name: str, k: int) -> Tensor:
    """The `k` largest of a layer as bool, by the cached threshold of all layers if it keeps `k`, else by a search."""
    if scores.threshold is not None and scores.order is not None:
        keep = scores.order.keys[name] >= scores.threshold
        if int(torch.count_nonzero(keep)) == k:
            return keep.view(scores[name].shape)
    return largest({name: scores[name]}, k)[name]


def _order(scores: Scores, k: int) -> _Order:
    order = scores.order if isinstance(scores, Ranked) else None
    if order is None:
        order = _find_order(scores)
    if isinstance(scores, Ranked):
        scores.order = order
    if not 0 <= k <= order.available:
        raise ValueError(f"cannot keep {k} weights: {order.available} of {_size(order.keys)} are left")
    return order


def _find_order(scores: Scores) -> _Order:
    """Integer keys of the scores. Raises ValueError for NaN and +inf.

    The IEEE bits of non-negative floats, read as integers, have the order of the floats; those of negative floats have
    the reverse order, so that only finite negative scores need a conversion.
    """
    exact = all(score.dtype in (torch.float16, torch.bfloat16, torch.float32) for score in scores.values())
    dtype = torch.float32 if exact else torch.float64  # the same for all layers, whose keys are compared
    flat = {name: score.detach().to(dtype).contiguous().flatten() for name, score in scores.items()}
    bits = {name: value.view(_integer(dtype)) for name, value in flat.items()}
    ends = {name: tuple(map(int, torch.aminmax(bit))) for name, bit in bits.items() if bit.numel()}
    for name, (low, high) in ends.items():
        if high >= _infinity(dtype) or (low < 0 and flat[name].amax().isnan()):
            raise ValueError(
                f"scores of {name} are not finite; a criterion must return numbers, -inf for pruned weights"
            )
    available = _size(bits)
    for name, (low, _) in ends.items():
        if low < 0:
            available -= int(torch.count_nonzero(bits[name] == _infinity(dtype) + torch.iinfo(_integer(dtype)).min))
    signed = any(low < _infinity(dtype) + torch.iinfo(_integer(dtype)).min for low, _ in ends.values())
    return _Order({name: _signed(value) for name, value in flat.items()} if signed else bits, available)


def _signed(flat: Tensor) -> Tensor:
    """A copy of the bits in which those of negative floats are inverted; -0.0 ties with 0.0."""
    bits = (flat + 0.0).view(_integer(flat.dtype))
    negative = bits >> (torch.iinfo(bits.dtype).bits - 1)  # -1 for negative floats, 0 for the others
    return bits.bitwise_xor_(negative.bitwise_and_(torch.iinfo(bits.dtype).max))


def _integer(dtype: torch.dtype) -> torch.dtype:
    return torch.int32 if dtype == torch.float32 else torch.int64


def _infinity(dtype: torch.dtype) -> int:
    """The bits of +inf; those of -inf are the same with the sign bit."""
    return 0x7F800000 if dtype == torch.float32 else 0x7FF0000000000000


def _size(tensors: Scores) -> int:
    return sum(tensor.numel() for tensor in tensors.values())


def _kth_largest(keys: Sequence[Tensor], k: int) -> tuple[int, int, int]:
    """The k-th largest key, how many keys equal to it are among the k largest, and how many are equal to it."""
    if k == 0:
        return (
            torch.iinfo(keys[0].dtype).max,
            0,
            0,
        )  # above every key; the maximum of int64 would overflow in a comparison with int32 keys
    bits = torch.iinfo(keys[0].dtype).bits
    half = 1 << (_DIGIT - 1)  # the first digit holds the sign
    pieces = _pieces([key for key in keys if key.numel()])
    rest, digit, k = _narrow(pieces, lambda key: (key >> (bits - _DIGIT)).add_(half), k)
    threshold = digit - half
    for shift in range(bits - 2 * _DIGIT, -1, -_DIGIT):
        rest, digit, k = _narrow([rest], partial(_digit, shift=shift), k)
        threshold = (threshold << _DIGIT) | digit
    return threshold, k, len(rest)


def _digit(key: Tensor, shift: int) -> Tensor:
    return (key >> shift) & 0xFFFF


def _pieces(keys: Sequence[Tensor]) -> list[Tensor]:
    """Keys split to fit a core's cache, and small layers joined: a histogram costs as much as reading 65,536 keys."""
    small = [key for key in keys if key.numel() < _PIECE // 4]
    large = [piece for key in keys if key.numel() >= _PIECE // 4 for piece in key.split(_PIECE)]
    return [*large, torch.cat(small)] if small else large


def _narrow(keys: Sequence[Tensor], digit_of: Callable[[Tensor], Tensor], k: int) -> tuple[Tensor, int, int]:
    """Keys that share the digit of the k-th largest one, that digit, and the rank of the k-th among them."""
    histogram = torch.zeros(1 << _DIGIT, dtype=torch.int64, device=keys[0].device)
    for key in keys:
        histogram += torch.bincount(digit_of(key), minlength=1 << _DIGIT)
    at_least = histogram.flip(0).cumsum(0).flip(0)
    digit = int(torch.count_nonzero(at_least >= k)) - 1
    above = int(at_least[digit] - histogram[digit])
    return torch.cat([key[digit_of(key) == digit] for key in keys]), digit, k - above
