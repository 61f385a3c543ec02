"""The five conditions under which a ticket wins, each with its value, threshold and margin (arXiv 2107.00166)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from lth.analysis.interval import Interval, of_difference

Cells = Mapping[float, Mapping[int, float]]  # learning rate -> seed -> accuracy, 0..1
Partner = Callable[[float], Mapping[int, float] | None]  # what a ticket of this learning rate is compared with
RR_RULES = ("max_over_lr", "same_lr")
STATUS = ("holds", "undecided", "fails", "unknown")  # from best to worst
SLACK = 1e-9  # a difference of exactly the threshold must not be decided by rounding


@dataclass(frozen=True)
class Rules:
    """Thresholds and readings of the paper's text; all fractions, 0..1.

    tau: what counts as similar. gap: what counts as a clear gap to re-initialised tickets; sd_gap: to the small dense
    net. max_density: above it a ticket is trivial. min_epochs: a shorter training is insufficient. same_lr: one
    learning rate must satisfy 3, 4 and 5. rr_rule: the re-initialised ticket at its best learning rate, or at the
    ticket's. strict: intervals, not means, must clear the thresholds. min_seeds: fewer decide nothing.
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
        if self.rr_rule not in RR_RULES:
            raise ValueError(f"rr_rule={self.rr_rule!r} is not one of {RR_RULES}")
        for name in ("tau", "gap", "sd_gap"):
            if not 0 <= getattr(self, name) < 0.3:
                raise ValueError(f"{name}={getattr(self, name)} is a fraction, 0..0.3: half a point is 0.005")


@dataclass(frozen=True)
class Condition:
    """One condition. It holds where value reaches threshold; lr: the learning rate at which it does, or comes nearest.

    text: the condition in words, with its numbers. interval: of the value, over seeds.
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
        """Value minus threshold: not negative where the condition holds."""
        return None if self.value is None or self.threshold is None else self.value - self.threshold


@dataclass(frozen=True)
class Comparison:
    """Ticket minus partner must exceed the threshold (clear), or reach it."""

    number: int
    name: str
    threshold: float
    clear: bool
    partner: Partner


def judge(
    parts: Mapping[str, Cells], density: float, epochs: Mapping[str, float | None], rules: Rules
) -> tuple[Condition, ...]:
    """The five conditions. parts: `ticket`, `reinit`, `dense`, `small dense`; an empty one leaves its own unknown.

    epochs: what `ticket` and `dense` trained for, None where that is not known.
    """
    ticket, reinit, dense, small = (parts[part] for part in ("ticket", "reinit", "dense", "small dense"))
    controls = same(reinit) if rules.rr_rule == "same_lr" else best(reinit)
    second = Comparison(2, "the small dense net is clearly worse", rules.sd_gap, True, best(small))
    rest = (
        Comparison(3, "the re-initialised ticket is clearly worse", rules.gap, True, controls),
        Comparison(4, "similar to the dense net at the same learning rate", -rules.tau, False, same(dense)),
        Comparison(5, "similar to the best dense net", -rules.tau, False, best(dense)),
    )
    rates = list(ticket)
    if rules.same_lr:
        rates = [max(rates, key=lambda lr: _least(rest, ticket, lr, rules))]
    first = _non_trivial(density, epochs, rules)
    return (first, _at_one(second, ticket, [best_lr(ticket)], rules), *(_at_one(c, ticket, rates, rules) for c in rest))


def too_few(parts: Mapping[str, Cells], rules: Rules) -> list[str]:
    """What has fewer seeds than a verdict needs, in words."""
    return [
        f"{part} at lr {lr:g} has {len(seeds)} of {rules.min_seeds} seeds"
        for part, cells in parts.items()
        for lr, seeds in cells.items()
        if len(seeds) < rules.min_seeds
    ]


def best_lr(cells: Cells) -> float:
    """The learning rate of the highest mean."""
    return max(cells, key=lambda lr: fmean(cells[lr].values()))


def best(cells: Cells) -> Partner:
    """Compare with the best learning rate of these cells, whatever the ticket's."""
    return lambda lr: cells[best_lr(cells)] if cells else None


def same(cells: Cells) -> Partner:
    """Compare with the ticket's own learning rate."""
    return cells.get


def _non_trivial(density: float, epochs: Mapping[str, float | None], rules: Rules) -> Condition:
    name = "non-trivial density, sufficient training"
    ticket, dense = epochs.get("ticket"), epochs.get("dense")
    problems = []
    if density > rules.max_density + SLACK:
        problems.append(f"density {density:g} exceeds {rules.max_density:g}")
    if ticket is not None and ticket < rules.min_epochs:
        problems.append(f"{ticket:g} epochs are fewer than {rules.min_epochs:g}")
    if ticket is not None and dense is not None and ticket > dense + SLACK:
        problems.append(f"the ticket trained {ticket:g} epochs, the dense net {dense:g}")
    status = "fails" if problems else "holds"
    text = f"1 ({name}) {status}: {'; '.join(problems) or f'density {density:g} is at most {rules.max_density:g}'}"
    return Condition(1, name, status, text, density, rules.max_density)


def _at_one(comparison: Comparison, ticket: Cells, rates: Sequence[float], rules: Rules) -> Condition:
    """The condition at that of `rates` where it fares best: the paper asks that there be one."""
    tried = [_compare(comparison, ticket, lr, rules) for lr in rates]
    return min(tried, key=lambda c: (STATUS.index(c.status), -(c.value or 0.0)))


def _least(comparisons: Sequence[Comparison], ticket: Cells, lr: float, rules: Rules) -> tuple[int, float]:
    tried = [_compare(c, ticket, lr, rules) for c in comparisons]
    margins = [c.margin for c in tried if c.margin is not None]
    return -max(STATUS.index(c.status) for c in tried), min(margins, default=0.0)


def _compare(comparison: Comparison, ticket: Cells, lr: float, rules: Rules) -> Condition:
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


def _status(found: Interval, comparison: Comparison, strict: bool) -> str:
    def clears(value: float) -> bool:
        slack = SLACK if comparison.clear else -SLACK
        return value > comparison.threshold + slack

    if not strict:
        return "holds" if clears(found.mean) else "fails"
    if found.low is None or found.high is None:
        return "undecided"
    return "holds" if clears(found.low) else "undecided" if clears(found.high) else "fails"
