"""The correlation indicator R_p: do two nets agree about which weights are large? (arXiv 2107.00166, 2102.11068)"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from lth.pruning.topk import largest

NORMALISE = ("paper", "exact")


def correlation(
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    p: float,
    masks_a: Mapping[str, Tensor] | None = None,
    masks_b: Mapping[str, Tensor] | None = None,
    normalise: str = "paper",
) -> float:
    """R_p(a, b): the share of each layer's p n_l largest magnitudes that both nets hold, summed over layers.

    a, b: weights by layer; names and shapes must agree. Masks restrict each net to its kept weights, n_l is then the
    smaller kept count; None is a dense net, compared with a sparse one at the full n_l. normalise: `paper` divides by
    p sum n_l, `exact` by the sum of the rounded counts, so that R(a, a) = 1. Near p there is no relation. Raises
    ValueError for p outside (0, 1], and for a sparse against a dense net where p n_l exceeds what is kept.
    """
    layers = by_layer(a, b, p, masks_a, masks_b, normalise)
    return sum(shared for shared, _ in layers.values()) / sum(expected for _, expected in layers.values())


def by_layer(
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    p: float,
    masks_a: Mapping[str, Tensor] | None = None,
    masks_b: Mapping[str, Tensor] | None = None,
    normalise: str = "paper",
) -> dict[str, tuple[int, float]]:
    """Shared weights and their full number for each layer; R_p of a layer is the first divided by the second."""
    if not 0 < p <= 1:
        raise ValueError(f"p={p} is not in (0, 1]: it is a fraction of each layer's weights")
    if normalise not in NORMALISE:
        raise ValueError(f"normalise={normalise!r} is not one of {NORMALISE}")
    check_same(a, b)
    found = {}
    for name in a:
        kept = [_kept(masks, name, a[name]) for masks in (masks_a, masks_b)]
        sparse = [int(torch.count_nonzero(k)) for k in kept if k is not None]
        n = min(sparse) if len(sparse) == 2 else a[name].numel()
        if n == 0:
            continue
        k = max(1, round(p * n))
        if sparse and k > min(sparse):
            raise ValueError(
                f"p={p} of {name} is {k} weights, but a mask keeps {min(sparse)}: p must be below its density"
            )
        tops = [_top(w, mask, k) for w, mask in zip((a[name], b[name]), kept, strict=True)]
        found[name] = (int(torch.count_nonzero(tops[0] & tops[1])), float(k) if normalise == "exact" else p * n)
    if not found:
        raise ValueError("no layer keeps a weight in both: there is nothing to compare")
    return found


def check_same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    """Raise ValueError listing the names at which two states differ, or their shapes do."""
    names: Iterable[str] = dict.fromkeys([*a, *b])
    differing = [n for n in names if n not in a or n not in b or a[n].shape != b[n].shape]
    if differing:
        raise ValueError(f"the two differ in names or shapes at {differing}")


def _kept(masks: Mapping[str, Tensor] | None, name: str, like: Tensor) -> Tensor | None:
    return None if masks is None else masks[name].bool().to(like.device)


def _top(weights: Tensor, kept: Tensor | None, k: int) -> Tensor:
    score = weights.detach().abs()
    ranked = score if kept is None else torch.where(kept, score, -torch.inf)
    return largest({"layer": ranked}, k)["layer"]
