"""Similarity of two networks: overlap of masks, agreement of weight signs, and the correlation indicator R_p.

R_p is the share of their largest weights that two networks have in common (arXiv 2107.00166, 2102.11068).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lth.pruning.topk import largest

State = Mapping[str, Tensor]
_NORMALISE = ("paper", "exact")


def correlation(
    a: State,
    b: State,
    p: float,
    masks_a: State | None = None,
    masks_b: State | None = None,
    normalise: str = "paper",
) -> float:
    """R_p(a, b): the share of the p n_l weights of largest magnitude per layer that the networks have in common.

    Two unrelated dense networks have R_p near p.
      a, b: weights by layer, with the same names and shapes
      p: fraction of each layer's n_l weights, over 0 and at most 1
      masks_a, masks_b: restrict a network to its kept weights; None = dense. With two masks n_l is the smaller kept
        count of the layer, with one it is the layer's size
      normalise: `paper` divides by p sum n_l, `exact` by the sum of the rounded counts, so that R(a, a) = 1
    Raises ValueError for p outside (0, 1], another `normalise`, states that differ in names or shapes, if p n_l exceeds
    what a mask keeps, and if no layer keeps a weight in both networks.
    """
    layers = _shared_by_layer(a, b, p, masks_a, masks_b, normalise)
    return sum(shared for shared, _ in layers.values()) / sum(expected for _, expected in layers.values())


def compare(
    masks_a: State, weights_a: State, masks_b: State, weights_b: State, ps: Sequence[float]
) -> list[dict[str, Any]]:
    """One row per layer and one for the total: overlap of the masks, agreement of signs, R_p for each of `ps`.

      kept_a, kept_b, both: kept weights of each and of both
      jaccard: both / (kept by either), 1 if neither keeps anything
      by_chance: the Jaccard index at the overlap expected of two random masks with these counts, kept_a kept_b / n
      same_sign: fraction of the weights kept by both whose signs agree; None if there are no such weights

    Raises ValueError listing the layers in which the two differ by name or shape.
    """
    _check_same(masks_a, masks_b)
    a, b = {n: weights_a[n] for n in masks_a}, {n: weights_b[n] for n in masks_a}
    _check_same(a, b)
    rows: list[dict[str, Any]] = [{"layer": n, **_overlap(a[n], b[n], masks_a[n], masks_b[n])} for n in masks_a]
    sums = {key: sum(row[key] for row in rows) for key in rows[0] if key != "layer"}
    shared = {p: _shared_by_layer(a, b, p, masks_a, masks_b) for p in ps}
    table = []
    for row in [*rows, {"layer": "total", **sums}]:
        derived = {
            "jaccard": _jaccard(row["both"], row["kept_a"], row["kept_b"]),
            "by_chance": _jaccard(row.pop("expected"), row["kept_a"], row["kept_b"]),
            "same_sign": row.pop("agreeing") / row["both"] if row["both"] else None,
        }
        table.append({**row, **derived, **{f"R_{p:g}": _of_layer(shared[p], row["layer"]) for p in ps}})
    return table


def _overlap(a: Tensor, b: Tensor, mask_a: Tensor, mask_b: Tensor) -> dict[str, float]:
    shared = mask_a.bool() & mask_b.bool()
    kept_a, kept_b, both = (int(torch.count_nonzero(m)) for m in (mask_a, mask_b, shared))
    agreeing = int(torch.count_nonzero((a.sign() == b.sign()) & shared))
    expected = kept_a * kept_b / mask_a.numel()
    return {"kept_a": kept_a, "kept_b": kept_b, "both": both, "expected": expected, "agreeing": agreeing}


def _jaccard(both: float, kept_a: float, kept_b: float) -> float:
    either = kept_a + kept_b - both
    return both / either if either else 1.0


def _of_layer(shared: Mapping[str, tuple[int, float]], layer: str) -> float | None:
    """R_p of one layer or of the `total`; None for a layer in which one of the networks keeps nothing."""
    pairs = list(shared.values()) if layer == "total" else [shared[layer]] if layer in shared else []
    return sum(count for count, _ in pairs) / sum(of for _, of in pairs) if pairs else None


def _shared_by_layer(
    a: State,
    b: State,
    p: float,
    masks_a: State | None = None,
    masks_b: State | None = None,
    normalise: str = "paper",
) -> dict[str, tuple[int, float]]:
    """Numerator and denominator of R_p for each layer in which both networks keep weights."""
    if not 0 < p <= 1:
        raise ValueError(f"p={p} is not in (0, 1]: it is a fraction of each layer's weights")
    if normalise not in _NORMALISE:
        raise ValueError(f"normalise={normalise!r} is not one of {_NORMALISE}")
    _check_same(a, b)
    shared = {}
    for name in a:
        kept = [None if masks is None else masks[name].bool().to(a[name].device) for masks in (masks_a, masks_b)]
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
        shared[name] = (int(torch.count_nonzero(tops[0] & tops[1])), float(k) if normalise == "exact" else p * n)
    if not shared:
        raise ValueError("no layer keeps a weight in both networks: there is nothing to compare")
    return shared


def _check_same(a: State, b: State) -> None:
    names: Iterable[str] = dict.fromkeys([*a, *b])
    differing = [n for n in names if n not in a or n not in b or a[n].shape != b[n].shape]
    if differing:
        raise ValueError(f"the two differ in names or shapes at {differing}")


def _top(weights: Tensor, kept: Tensor | None, k: int) -> Tensor:
    score = weights.detach().abs()
    ranked = score if kept is None else torch.where(kept, score, -torch.inf)
    return largest({"layer": ranked}, k)["layer"]
