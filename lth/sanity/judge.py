"""The verdict of the sanity checks: does the ticket win? A pure function of a table of runs (arXiv 2107.00166).

Jackpot: conditions 1 to 5 hold. Secondary prize: 1 to 4 hold, 5 fails. All accuracies are fractions, 0..1.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lth.analysis.interval import Interval, of_difference
from lth.sanity._conditions import Cells, Condition, Rules, best_lr, check_conditions

_SAME_DENSITY = 1e-3  # relative difference; a density asked for is rounded to a whole number of weights
_TAU = {"cifar10": 0.005, "cifar100": 0.01, "tiny_imagenet": 0.01, "imagenet": 0.015}


@dataclass(frozen=True)
class SanityRun:
    """One trained network of the comparison.

    setting: name of the ticket or control, e.g. `lt_imp`, `rr_imp`, `dense`, `sdt`
    lr: learning rate
    seed: seed of the run
    accuracy: test accuracy, 0..1
    density: fraction of weights kept by the ticket; for a control that of its ticket; unused for the dense network
    epochs: length of the training; None if unknown
    """

    setting: str
    lr: float
    seed: int
    accuracy: float
    density: float = 1.0
    epochs: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The outcome for the tickets of one density.

    outcome: `jackpot`, `secondary prize`, `none`, `not enough seeds` or `unknown` (a run is missing)
    density: fraction of weights the ticket keeps, 0..1
    gaps: control -> accuracy of the ticket minus that of the control, each at its best learning rate
    reason: the conditions that decided the outcome, in words
    correlation: name -> R_p of initial and trained weights; reported, never used for the outcome
    """

    outcome: str
    density: float
    conditions: tuple[Condition, ...]
    gaps: Mapping[str, Interval]
    reason: str
    correlation: Mapping[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> tuple[int, ...]:
        """The numbers (1 to 5) of the conditions that are not met."""
        return tuple(c.number for c in self.conditions if c.status == "fails")


def tau_of(dataset: str, otherwise: float = 0.005) -> float:
    """The largest difference of two similar accuracies (0..1) on `dataset`, as the paper chose it.

    otherwise: the value for datasets the paper does not use
    """
    return _TAU.get(dataset, otherwise)


def judge(
    runs: Iterable[SanityRun],
    density: float,
    rules: Rules,
    ticket: str = "lt_imp",
    reinit: str = "rr_imp",
    dense: str = "dense",
    small_dense: str = "sdt",
    controls: Sequence[str] = (),
    correlation: Mapping[str, float] | None = None,
) -> Verdict:
    """The verdict on the tickets of one density.

    A condition whose network was not trained is unknown; it never counts as passed.

    runs: all trained networks; those of settings not named below are ignored
    density: fraction of weights the ticket keeps, 0..1
    rules: thresholds of the conditions
    ticket, reinit, dense, small_dense: the `setting` of the ticket and of each network it is compared with
    controls: further settings whose gap to the ticket is reported
    correlation: name -> R_p, copied into the verdict

    Raises ValueError if there is no run of the ticket at this density.
    """
    table = list(runs)
    roles = {"ticket": ticket, "reinit": reinit, "dense": dense, "small dense": small_dense}
    cells = {role: _by_lr(table, name, None if role == "dense" else density) for role, name in roles.items()}
    if not cells["ticket"]:
        found = sorted({(run.setting, run.density) for run in table})
        raise ValueError(f"there is no run of {ticket!r} at density {density:g}; there are {found}")
    epochs = {role: _epochs(table, roles[role]) for role in ("ticket", "dense")}
    conditions = check_conditions(cells, density, epochs, rules)
    others = {name: _by_lr(table, name, density) for name in dict.fromkeys([reinit, small_dense, *controls])}
    gaps = {name: _gap(cells["ticket"], other, rules.confidence) for name, other in others.items() if other}
    outcome, reason = _outcome(conditions, _too_few(cells, rules))
    return Verdict(outcome, density, conditions, gaps, reason, dict(correlation or {}))


def _by_lr(runs: Iterable[SanityRun], setting: str, density: float | None) -> dict[float, dict[int, float]]:
    """Learning rate -> seed -> accuracy of one setting; density None: of all densities."""
    cells: dict[float, dict[int, float]] = {}
    for run in runs:
        if run.setting != setting or (density is not None and abs(run.density - density) > _SAME_DENSITY * density):
            continue
        if not 0 <= run.accuracy <= 1:
            raise ValueError(f"accuracy {run.accuracy} of {setting} is not a fraction 0..1")
        seeds = cells.setdefault(run.lr, {})
        if run.seed in seeds:
            raise ValueError(f"{setting} at density {run.density:g}, lr {run.lr:g}, seed {run.seed} is given twice")
        seeds[run.seed] = run.accuracy
    return cells


def _gap(ticket: Cells, control: Cells, confidence: float) -> Interval:
    """Accuracy of ticket minus control, each at its own best learning rate, with the confidence interval over seeds."""
    return of_difference(ticket[best_lr(ticket)], control[best_lr(control)], confidence)


def _too_few(cells: Mapping[str, Cells], rules: Rules) -> list[str]:
    """The networks trained on fewer than `min_seeds` seeds, in words."""
    return [
        f"{role} at lr {lr:g} has {len(seeds)} of {rules.min_seeds} seeds"
        for role, by_lr in cells.items()
        for lr, seeds in by_lr.items()
        if len(seeds) < rules.min_seeds
    ]


def _epochs(runs: Iterable[SanityRun], setting: str) -> float | None:
    return max((run.epochs for run in runs if run.setting == setting and run.epochs is not None), default=None)


def _outcome(conditions: Sequence[Condition], few: Sequence[str]) -> tuple[str, str]:
    """Outcome and reason. Condition 1 is first because no further seed changes it; then the number of seeds."""
    if conditions[0].status == "fails":
        return "none", conditions[0].text
    if few:
        return "not enough seeds", "; ".join(few)
    failed = [c for c in conditions[:4] if c.status == "fails"]
    if failed:
        return "none", "; ".join(c.text for c in conditions if c.status == "fails")
    for status, outcome in (("undecided", "not enough seeds"), ("unknown", "unknown")):
        open_ = [c for c in conditions if c.status == status]
        if open_:
            return outcome, "; ".join(c.text for c in open_)
    if conditions[4].status == "fails":
        return "secondary prize", conditions[4].text
    return "jackpot", "all five conditions hold"


def describe(found: Verdict) -> list[str]:
    """The verdict as lines of text: outcome, reason, conditions, gaps with intervals, R_p (`similarity`)."""
    text = [f"density {found.density:.4g}: {found.outcome} ({found.reason})"]
    text += [f"  {condition.text}" for condition in found.conditions]
    for name, interval in found.gaps.items():
        text.append(f"  ticket minus {name}: {100 * interval.mean:+.2f} points{interval}, n={interval.n}")
    return text + [f"  {name} = {value:.3f}" for name, value in found.correlation.items()]
