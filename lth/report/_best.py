"""Which series is best at a density, and which others it is clearly ahead of."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from lth.report._intervals import compare
from lth.report._series import Point, Series

_MOST = 60  # densities compared at most; ladders of different rates have few densities in common


def comparisons(series: Sequence[Series]) -> list[dict[str, Any]]:
    """One entry for each density at which two or more series were measured, by falling density.

    Its `order` holds [index of the series, outcome, lead, low, high], best mean first. The lead is the best mean minus
    that of the series, with its interval; the outcome is `best`, one of `compare`, or `few` (fewer than three seeds).
    Empty if it is not known whether higher is better. Dense networks are not compared.
    """
    at: dict[float, list[tuple[int, Point]]] = {}
    for index, one in enumerate(series):
        for point in one.points:
            if point.percent and 0 < point.density < 1:
                at.setdefault(point.density, []).append((index, point))
    counts = Counter({density: len(points) for density, points in at.items() if len(points) > 1})
    chosen = sorted((density for density, _ in counts.most_common(_MOST)), reverse=True)
    return [{"density": density, "order": _order(at[density])} for density in chosen]


def _order(points: Sequence[tuple[int, Point]]) -> list[list[Any]]:
    ranked = sorted(points, key=lambda item: -item[1].mean)
    (first, best), others = ranked[0], ranked[1:]
    order: list[list[Any]] = [[first, "best", 0.0, None, None]]
    for index, point in others:
        found = compare(best.seeds, point.seeds, len(others))
        if found is None:
            order.append([index, "few", best.mean - point.mean, None, None])
        else:
            outcome, difference = found
            order.append([index, outcome, difference.mean, difference.low, difference.high])
    return order


def best_series(series: Sequence[Series], most: int) -> list[Series]:
    """At most `most` series: a dense network, and the best ones at the sparsest common density.

    A density is common if at least half as many series have it as have the most frequent one.

    All series if there are at most `most`. Series without that density, or without a fraction column, stay in order.
    """
    if len(series) <= most:
        return list(series)
    found = comparisons(series)
    largest = max((len(one["order"]) for one in found), default=0)
    common: list[Any] = next((one["order"] for one in reversed(found) if 2 * len(one["order"]) >= largest), [])
    ranked = [series[entry[0]] for entry in common]
    rest = [one for one in series if one not in ranked]
    dense = [one for one in rest if [point.density for point in one.points] == [1.0]][:1]
    chosen = [*dense, *ranked, *(one for one in rest if one not in dense)][:most]
    return [one for one in series if one in chosen]
