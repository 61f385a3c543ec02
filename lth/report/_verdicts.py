"""Verdicts of the sanity checks in a report: in words, and as a matrix of conditions."""

from collections.abc import Mapping, Sequence
from typing import Any

from lth.report._sections import sections
from lth.report.collect import Run
from lth.report.sanity_checks import in_words, verdicts
from lth.sanity.judge import Verdict, describe

Judged = list[tuple[str, Mapping[str, Verdict], str]]

_STATES = {
    "holds": ("met", "✓"),
    "fails": ("failed", "✗"),
    "undecided": ("undecided", "≈"),
    "unknown": ("unknown", "?"),
}
HEADINGS = (
    "non-trivial density, enough training",
    "small dense net is worse",
    "re-initialised ticket is worse",
    "as good as dense, same learning rate",
    "as good as the best dense net",
)


def judge_all(runs: Sequence[Run]) -> Judged:
    """(title, verdicts by name, why there is none) of each model and dataset that has sanity checks."""
    found: Judged = []
    for section in sections(run for run in runs if run.is_sanity_check):
        try:
            found.append((section.title, verdicts([run for group in section.groups for run in group.runs]), ""))
        except ValueError as error:
            found.append((section.title, {}, f"no verdict: {error}"))
    return found


def verdict_text(judged: Judged) -> str:
    """The verdicts in words, under the titles of their sections; empty where there are none."""
    if not judged:
        return ""
    return "\n\n".join(f"{title}\n\n{problem or in_words(found).strip()}" for title, found, problem in judged)


def condition_matrices(judged: Judged) -> list[dict[str, Any]]:
    """For the page: title, problem, and one row per verdict with the cells of the five conditions and the words."""
    return [
        {"title": title, "problem": problem, "rows": [_row(name, verdict) for name, verdict in found.items()]}
        for title, found, problem in judged
    ]


def _row(name: str, verdict: Verdict) -> dict[str, Any]:
    cells = [_cell(condition) for condition in verdict.conditions]
    return {"name": name, "outcome": verdict.outcome, "cells": cells, "words": "\n".join(describe(verdict))}


def _cell(condition: Any) -> dict[str, str]:
    """State, sign, number and text of a condition. Differences are in percentage points."""
    state, sign = _STATES[condition.status]
    if condition.value is None:
        number = ""
    elif condition.number == 1:
        number = f"{condition.value:.3g}"
    else:
        number = f"{100 * condition.value:+.2f}"
    return {"state": state, "sign": sign, "number": number, "text": condition.text}
