"""Does the ticket win? The verdict of the sanity checks, as a pure function of a table of runs (arXiv 2107.00166).

Jackpot: conditions 1 to 5. Secondary prize: 1 to 4, not 5. Accuracies, gaps and thresholds are fractions, 0..1.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lth.analysis.interval import Interval, of_difference
from lth.sanity.conditions import Cells, Condition, Rules, best_lr, judge, too_few

OUTCOMES = ("jackpot", "secondary prize", "none", "not enough seeds", "unknown")
SAME_DENSITY = 1e-3  # relative: counts are rounded
TAU = {"cifar10": 0.005, "cifar100": 0.01, "tiny_imagenet": 0.01, "imagenet": 0.015}


@dataclass(frozen=True)
class Run:
    """One trained net of the comparison. density: the ticket's, also for its controls; the dense net's is not read."""

    setting: str
    lr: float
    seed: int
    accuracy: float
    density: float = 1.0
    epochs: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What was found. gaps: control -> ticket minus that control, each at its best learning rate.

    correlation: R_p by name, as handed in; it explains a verdict and decides nothing.
    """

    outcome: str
    density: float
    conditions: tuple[Condition, ...]
    gaps: Mapping[str, Interval]
    reason: str
    correlation: Mapping[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> tuple[int, ...]:
        """Numbers of the conditions that do not hold."""
        return tuple(c.number for c in self.conditions if c.status == "fails")


def tau_of(dataset: str, otherwise: float = 0.005) -> float:
    """By how much two accuracies may differ and still be similar on a dataset, as the paper chose it."""
    return TAU.get(dataset, otherwise)


def verdict(
    runs: Iterable[Run],
    density: float,
    rules: Rules,
    ticket: str = "lt_imp",
    reinit: str = "rr_imp",
    dense: str = "dense",
    small_dense: str = "sdt",
    controls: Sequence[str] = (),
    correlation: Mapping[str, float] | None = None,
) -> Verdict:
    """Judge the tickets of one density. The names say which `setting` plays which part; runs of others are ignored.

    A part without runs leaves its conditions unknown, never passed. controls: further settings whose gap to the ticket
    is reported. Raises ValueError when there is no run of the ticket at this density.
    """
    table = list(runs)
    roles = {"ticket": ticket, "reinit": reinit, "dense": dense, "small dense": small_dense}
    parts = {role: by_lr(table, name, None if role == "dense" else density) for role, name in roles.items()}
    if not parts["ticket"]:
        found = sorted({(run.setting, run.density) for run in table})
        raise ValueError(f"there is no run of {ticket!r} at density {density:g}; there are {found}")
    epochs = {role: _epochs(table, roles[role]) for role in ("ticket", "dense")}
    conditions = judge(parts, density, epochs, rules)
    others = {name: by_lr(table, name, density) for name in dict.fromkeys([reinit, small_dense, *controls])}
    gaps = {name: gap(parts["ticket"], cells, rules.confidence) for name, cells in others.items() if cells}
    outcome, reason = _outcome(conditions, too_few(parts, rules))
    return Verdict(outcome, density, conditions, gaps, reason, dict(correlation or {}))


def by_lr(runs: Iterable[Run], setting: str, density: float | None) -> dict[float, dict[int, float]]:
    """Learning rate -> seed -> accuracy of one setting, at one density or at any. Raises ValueError for a run twice."""
    cells: dict[float, dict[int, float]] = {}
    for run in runs:
        if run.setting != setting or (density is not None and abs(run.density - density) > SAME_DENSITY * density):
            continue
        if not 0 <= run.accuracy <= 1:
            raise ValueError(f"accuracy {run.accuracy} of {setting} is no fraction 0..1")
        seeds = cells.setdefault(run.lr, {})
        if run.seed in seeds:
            raise ValueError(f"{setting} at density {run.density:g}, lr {run.lr:g}, seed {run.seed} is there twice")
        seeds[run.seed] = run.accuracy
    return cells


def gap(ticket: Cells, control: Cells, confidence: float = 0.95) -> Interval:
    """Ticket minus control, each at its own best learning rate, with the confidence interval over seeds."""
    return of_difference(ticket[best_lr(ticket)], control[best_lr(control)], confidence)


def _epochs(runs: Iterable[Run], setting: str) -> float | None:
    return max((run.epochs for run in runs if run.setting == setting and run.epochs is not None), default=None)


def _outcome(conditions: Sequence[Condition], few: Sequence[str]) -> tuple[str, str]:
    """First what no further seed can change, then whether there are seeds enough, then the five conditions."""
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


def lines(found: Verdict) -> list[str]:
    """The verdict in words: outcome, reason, every condition, gaps with intervals, R_p."""
    text = [f"density {found.density:.4g}: {found.outcome} ({found.reason})"]
    text += [f"  {condition.text}" for condition in found.conditions]
    for name, interval in found.gaps.items():
        text.append(f"  ticket minus {name}: {100 * interval.mean:+.2f} points{interval}, n={interval.n}")
    return text + [f"  {name} = {value:.3f}" for name, value in found.correlation.items()]
