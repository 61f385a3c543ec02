"""The five conditions that a winning ticket meets, each with its value, threshold and margin (arXiv 2107.00166)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from lth.analysis.interval import Interval, of_difference

Cells = Mapping[float, Mapping[int, float]]  # learning rate -> seed -> accuracy, 0..1
_Partner = Callable[[float], Mapping[int, float] | None]  # ticket's learning rate -> seed -> accuracy compared with
_RR_RULES = ("max_over_lr", "same_lr")
_STATUS = ("holds", "undecided", "fails", "unknown")  # from best to worst
_SLACK = 1e-9  # rounding errors must not decide a difference equal to the threshold


@dataclass(frozen=True)
class Rules:
    """Thresholds of the conditions, and the choices where the paper's text can be read in two ways.

    tau: largest difference of similar accuracies, 0..1
    gap: smallest clear gap to the re-initialised ticket, 0..1
    sd_gap: smallest clear gap to the small dense network, 0..1
    max_density: a ticket of a higher density is trivial
    min_epochs: a shorter training is insufficient
    same_lr: conditions 3, 4 and 5 must hold at the same learning rate
    rr_rule: compare with the re-initialised ticket at its best learning rate (`max_over_lr`) or at the ticket's
    strict: the confidence interval, not only the mean, must clear the threshold
    min_seeds: with fewer seeds the outcome is `not enough seeds`
    confidence: confidence of the intervals, 0..1
    """

    tau: float = 0.005
    gap: float = 0.005
    sd_gap: float = 0.005
    max_density: float = 0.4
    min_epochs: float = 0.0
    same_lr: bool = False
    rr_rule: str = "max_over_lr"
    strict: bool = False
    min_seeds: int = 3
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.rr_rule not in _RR_RULES:
            raise ValueError(f"rr_rule={self.rr_rule!r} is not one of {_RR_RULES}")
        for name in ("tau", "gap", "sd_gap"):
            if not 0 <= getattr(self, name) < 0.3:
                raise ValueError(f"{name}={getattr(self, name)} is a fraction, 0..0.3: half a point is 0.005")


@dataclass(frozen=True)
class Condition:
    """The result of one condition. `threshold` bounds `value` from above for condition 1, from below for the others.

    number: 1 to 5, as in the paper
    status: `holds`, `fails`, `undecided` (strict rules only) or `unknown` (a run is missing)
    text: the condition in words, with its numbers
    value: density for condition 1; for the others the ticket's accuracy minus that of the other network, -1..1
    lr: the learning rate at which the condition holds, or comes nearest to holding
    interval: confidence interval of the value over seeds
    """

    number: int
    name: str
    status: str
    text: str
    value: float | None = None
    threshold: float | None = None
    lr: float | None = None
    interval: Interval | None = None

    @property
    def margin(self) -> float | None:
        """Value minus threshold, which is 0 or more where conditions 2 to 5 hold; None if the value is unknown."""
        return None if self.value is None or self.threshold is None else self.value - self.threshold


@dataclass(frozen=True)
class _Comparison:
    """Accuracy of ticket minus partner must exceed the threshold (clear=True) or at least reach it."""

    number: int
    name: str
    threshold: float
    clear: bool
    partner: _Partner


def check_conditions(
    cells: Mapping[str, Cells], density: float, epochs: Mapping[str, float | None], rules: Rules
) -> tuple[Condition, ...]:
    """The five conditions, in the paper's order.

    cells: accuracies of `ticket`, `reinit`, `dense` and `small dense`; conditions of a missing control are unknown
    density: fraction of weights the ticket keeps, 0..1
    epochs: length of the training of `ticket` and `dense`; None if unknown
    """
    ticket, reinit, dense, small = (cells[role] for role in ("ticket", "reinit", "dense", "small dense"))
    controls = _same(reinit) if rules.rr_rule == "same_lr" else _best(reinit)
    second = _Comparison(2, "the small dense net is clearly worse", rules.sd_gap, True, _best(small))
    rest = (
        _Comparison(3, "the re-initialised ticket is clearly worse", rules.gap, True, controls),
        _Comparison(4, "similar to the dense net at the same learning rate", -rules.tau, False, _same(dense)),
        _Comparison(5, "similar to the best dense net", -rules.tau, False, _best(dense)),
    )
    rates = list(ticket)
    if rules.same_lr:
        rates = [max(rates, key=lambda lr: _least(rest, ticket, lr, rules))]
    first = _non_trivial(density, epochs, rules)
    return (first, _at_one(second, ticket, [best_lr(ticket)], rules), *(_at_one(c, ticket, rates, rules) for c in rest))


def best_lr(cells: Cells) -> float:
    """The learning rate with the highest mean accuracy over seeds."""
    return max(cells, key=lambda lr: fmean(cells[lr].values()))


def _best(cells: Cells) -> _Partner:
    """Compare with these cells at their best learning rate."""
    return lambda lr: cells[best_lr(cells)] if cells else None


def _same(cells: Cells) -> _Partner:
    """Compare with these cells at the ticket's learning rate."""
    return cells.get


def _non_trivial(density: float, epochs: Mapping[str, float | None], rules: Rules) -> Condition:
    name = "non-trivial density, sufficient training"
    ticket, dense = epochs.get("ticket"), epochs.get("dense")
    problems = []
    if density > rules.max_density + _SLACK:
        problems.append(f"density {density:g} exceeds {rules.max_density:g}")
    if ticket is not None and ticket < rules.min_epochs:
        problems.append(f"{ticket:g} epochs are fewer than {rules.min_epochs:g}")
    if ticket is not None and dense is not None and ticket > dense + _SLACK:
        problems.append(f"the ticket trained {ticket:g} epochs, the dense net {dense:g}")
    status = "fails" if problems else "holds"
    text = f"1 ({name}) {status}: {'; '.join(problems) or f'density {density:g} is at most {rules.max_density:g}'}"
    return Condition(1, name, status, text, density, rules.max_density)


def _at_one(comparison: _Comparison, ticket: Cells, rates: Sequence[float], rules: Rules) -> Condition:
    """The condition at the most favourable of `rates`: the paper asks for one learning rate at which it holds."""
    tried = [_compare(comparison, ticket, lr, rules) for lr in rates]
    return min(tried, key=lambda c: (_STATUS.index(c.status), -(c.value or 0.0)))


def _least(comparisons: Sequence[_Comparison], ticket: Cells, lr: float, rules: Rules) -> tuple[int, float]:
    """Worst status (negated, so that larger is better) and smallest margin of the comparisons at `lr`."""
    tried = [_compare(c, ticket, lr, rules) for c in comparisons]
    margins = [c.margin for c in tried if c.margin is not None]
    return -max(_STATUS.index(c.status) for c in tried), min(margins, default=0.0)


def _compare(comparison: _Comparison, ticket: Cells, lr: float, rules: Rules) -> Condition:
    number, name, threshold = comparison.number, comparison.name, comparison.threshold
    partner = comparison.partner(lr)
    if not partner:
        return Condition(number, name, "unknown", f"{number} ({name}) is unknown: no such run", lr=lr)
    found = of_difference(ticket[lr], partner, rules.confidence)
    status = _status(found, comparison, rules.strict)
    mean = fmean(ticket[lr].values())
    text = (
        f"{number} ({name}) {'is undecided' if status == 'undecided' else status}: {100 * mean:.2f} % at lr {lr:g} is "
        f"{100 * found.mean:+.2f} points against {100 * fmean(partner.values()):.2f} %{found}, "
        f"needs {'more than ' if comparison.clear else ''}{100 * threshold:+.2f}"
    )
    return Condition(number, name, status, text, found.mean, threshold, lr, found)


def _status(found: Interval, comparison: _Comparison, strict: bool) -> str:
    def clears(value: float) -> bool:
        slack = _SLACK if comparison.clear else -_SLACK
        return value > comparison.threshold + slack

    if not strict:
        return "holds" if clears(found.mean) else "fails"
    if found.low is None or found.high is None:
        return "undecided"
    return "holds" if clears(found.low) else "undecided" if clears(found.high) else "fails"
