"""Two tickets side by side: how far their masks overlap, and whether their weights agree."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lth.analysis.correlation import by_layer, check_same

State = Mapping[str, Tensor]


def overlap(a: Tensor, b: Tensor) -> dict[str, Any]:
    """Of two masks: kept weights of each and of both, their Jaccard index, and the index that chance alone would give.

    Jaccard is |both| / |either|, 1 where neither keeps anything. By chance two random masks of these counts share
    kept_a * kept_b / n weights on average.
    """
    kept_a, kept_b, both = (int(torch.count_nonzero(m)) for m in (a, b, a.bool() & b.bool()))
    return {"kept_a": kept_a, "kept_b": kept_b, "both": both, "expected": kept_a * kept_b / a.numel()}


def jaccard(both: float, kept_a: float, kept_b: float) -> float:
    """|both| / |either|; 1 for two empty masks."""
    either = kept_a + kept_b - both
    return both / either if either else 1.0


def compare(
    masks_a: State, weights_a: State, masks_b: State, weights_b: State, ps: Sequence[float]
) -> list[dict[str, Any]]:
    """One row a layer and a last one for all: overlap of the masks, agreement of signs, R_p for each p.

    same_sign: of the weights both keep, the fraction whose signs agree; None where there is none. Raises ValueError
    listing the layers in which the two differ by name or shape.
    """
    check_same(masks_a, masks_b)
    a, b = {n: weights_a[n] for n in masks_a}, {n: weights_b[n] for n in masks_a}
    check_same(a, b)
    rows = [{"layer": n, **overlap(masks_a[n], masks_b[n]), **_signs(n, a, b, masks_a, masks_b)} for n in masks_a]
    sums = {key: sum(row[key] for row in rows) for key in rows[0] if key != "layer"}
    shared = {p: by_layer(a, b, p, masks_a, masks_b) for p in ps}
    found = []
    for row in [*rows, {"layer": "total", **sums}]:
        counted = {
            "jaccard": jaccard(row["both"], row["kept_a"], row["kept_b"]),
            "by_chance": jaccard(row.pop("expected"), row["kept_a"], row["kept_b"]),
            "same_sign": row.pop("agreeing") / row["both"] if row["both"] else None,
        }
        found.append({**row, **counted, **{f"R_{p:g}": _share(shared[p], row["layer"]) for p in ps}})
    return found


def _signs(name: str, a: State, b: State, masks_a: State, masks_b: State) -> dict[str, int]:
    both = masks_a[name].bool() & masks_b[name].bool()
    return {"agreeing": int(torch.count_nonzero((a[name].sign() == b[name].sign()) & both))}


def _share(shared: Mapping[str, tuple[int, float]], layer: str) -> float | None:
    pairs = list(shared.values()) if layer == "total" else [shared[layer]] if layer in shared else []
    return sum(found for found, _ in pairs) / sum(of for _, of in pairs) if pairs else None
