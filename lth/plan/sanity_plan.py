"""The plan of the sanity checks: a ticket and its controls in one experiment, each level with its own source.

Settings after Ma et al., NeurIPS 2021 (arXiv 2107.00166); `shuffle` after Su et al., NeurIPS 2020 (2009.11094).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lth.plan import Budgets, Level, steps_of

SETTINGS = ("lt_imp", "lt_omp", "lr_rewind", "wr_imp", "wr_omp", "rr_imp", "rr_omp", "shuffle", "random", "sdt")
_MOST_LEVELS = 1000
_TOLERANCE = 0.02  # relative; a density of `method.at` may be rounded


class _Levels:
    """Levels in the order in which they can be trained."""

    def __init__(self, folder: Path, budgets: Budgets):
        self.folder, self.budgets, self.levels = folder, budgets, list[Level]()

    def add(
        self, setting: str, density: float, source: Level | None, paired: Level | None = None, start: int = 0
    ) -> Level:
        """Add a level of stage `setting` and return it.

        paired: the level whose data order it shares
        start: step of the learning-rate schedule at which it begins
        """
        if len(self.levels) == _MOST_LEVELS:
            raise ValueError(
                f"method.at and method.settings ask for more than {_MOST_LEVELS} levels, the most there are"
            )
        index, budget = len(self.levels), self.budgets[setting]
        name = setting if setting == "dense" else f"{setting}_{density:.4g}"
        level = Level(
            index, name, density, setting, self.folder / f"level_{index:02d}_{name}", 0, budget.horizon, budget
        )
        origin = None if source is None else source.index
        level = replace(level, source=origin, order=None if paired is None else paired.stream)
        self.levels.append(replace(level, first_step=start, steps=budget.horizon - start))
        return self.levels[-1]


def sanity(
    densities: list[float],
    folder: Path,
    budgets: Budgets,
    at: Sequence[float] | None = None,
    settings: Sequence[str] = SETTINGS,
    rewind: int | str = "5%",
) -> list[Level]:
    """Levels for dense training, the IMP ladder, and the controls at each checked density.

    densities: densities of the ladder, falling; two or more
    folder: the run's folder
    budgets: stage -> budget; a stage is named like its setting
    at: the densities that are checked, on the ladder; None = its last one
    settings: names in `SETTINGS`
    rewind: the early point that wr_imp and wr_omp go back to, and from which their schedule continues

    A control has the data order of the ticket that it is compared with.
    Raises ValueError for an unknown setting, and for a density that is not on the ladder.
    """
    unknown = [setting for setting in settings if setting not in SETTINGS]
    if unknown:
        raise ValueError(f"method.settings {unknown} are not among {SETTINGS}")
    if len(densities) < 2:
        raise ValueError(f"method=sanity needs a ladder of two or more densities; sparsity gives {list(densities)}")
    checked = [_rung(density, densities) for density in at or densities[-1:]]
    plan, early = _Levels(folder, budgets), steps_of(rewind, budgets["dense"]) or 0
    dense = plan.add("dense", densities[0], None)
    imp = {densities[0]: dense}
    for density in densities[1:]:
        imp[density] = plan.add("lt_imp", density, plan.levels[-1])
    for density in checked:
        _controls(plan, density, dense, imp[density], settings, early)
    if "wr_imp" in settings:
        before = dense
        for density in densities[1:]:
            before = plan.add("wr_imp", density, before, imp[density], early)
    return plan.levels


def _controls(plan: _Levels, density: float, dense: Level, imp: Level, settings: Sequence[str], early: int) -> None:
    omp = plan.add("lt_omp", density, dense, imp) if {"lt_omp", "rr_omp"} & set(settings) else imp
    sources = {"lr_rewind": dense, "rr_imp": imp, "rr_omp": omp, "shuffle": imp, "random": imp, "sdt": None}
    for setting, source in sources.items():
        if setting in settings:
            plan.add(setting, density, source, imp)
    if "wr_omp" in settings:
        plan.add("wr_omp", density, dense, imp, early)


def _rung(density: float, ladder: Sequence[float]) -> float:
    near = min(ladder[1:], key=lambda rung: abs(rung - density))
    if abs(near - density) > _TOLERANCE * density:
        raise ValueError(f"method.at={density} is not on the ladder {[round(rung, 4) for rung in ladder]}")
    return near
