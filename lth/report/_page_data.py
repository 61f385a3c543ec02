"""Data for the page's scripts: sections with series, comparisons and runs, as plain containers and numbers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lth.report._best import best_series, comparisons
from lth.report._intervals import METHOD, METHOD_OF_LOSS
from lth.report._run_data import LEVEL_COLUMNS, json_number, run_data, settings
from lth.report._sections import Section
from lth.report._series import Point, Series, is_fraction

_READABLE = 12  # series shown at first

Panel = tuple[Section, Sequence[Series]]


def page_data(panels: Sequence[Panel], places: Mapping[Path, str], column: str) -> dict[str, Any]:
    """The page's data.

    panels: sections with their series, which may be none
    places: folder of a run -> its path as shown
    column: the measured column of results.csv
    """
    percent = is_fraction(column)
    return {
        "column": column.replace("_", " "),
        "percent": percent,
        "intervals": METHOD if percent else METHOD_OF_LOSS,
        "levelColumns": LEVEL_COLUMNS,
        "sections": [_section(section, series, places) for section, series in panels],
    }


def as_json(data: Any) -> str:
    """JSON that may stand inside a script element: no tag, comment or entity can begin in it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _section(section: Section, series: Sequence[Series], places: Mapping[Path, str]) -> dict[str, Any]:
    of_group = [(run, group) for group in section.groups for run in group.runs]
    of_group.sort(key=lambda item: places[item[0].path])
    position = {run.path: index for index, (run, _) in enumerate(of_group)}
    names: list[tuple[str, ...]] = []
    return {
        "title": section.title,
        "shared": section.overrides,
        "series": [_series(one, position) for one in series],
        "readable": [one.label for one in best_series(series, _READABLE)],
        "best": [_comparison(one) for one in comparisons(series)],
        "runs": [run_data(run, places[run.path], group, names) for run, group in of_group],
        "settings": settings([run for run, _ in of_group]),
        "layers": names,
    }


def _series(one: Series, position: Mapping[Path, int]) -> dict[str, Any]:
    traits = {**one.group.traits, **({"stage": one.stage} if one.stage else {})}
    return {"label": one.label, "traits": traits, "points": [_point(point, position) for point in one.points]}


def _point(point: Point, position: Mapping[Path, int]) -> dict[str, Any]:
    found = {name: json_number(getattr(point, name)) for name in ("density", "n", "mean", "sd", "low", "high")}
    found |= {name: json_number(value) for name, value in vars(point.cost).items()}
    seeds = [[seed, json_number(value)] for seed, value in point.seeds.items()]
    return {**found, "seeds": seeds, "runs": [position[path] for path in point.runs]}


def _comparison(one: Mapping[str, Any]) -> dict[str, Any]:
    order = [[json_number(value) for value in entry] for entry in one["order"]]
    return {"density": json_number(one["density"]), "order": order}
