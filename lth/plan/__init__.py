"""The levels of an experiment and their budgets of training steps: pure functions of numbers."""

from lth.plan.budget import Budget, Budgets, Cycles, LadderBudget
from lth.plan.level import Level, Times, steps_of
from lth.plan.plans import in_turn, ladder, search, single

__all__ = [
    "Budget",
    "Budgets",
    "Cycles",
    "LadderBudget",
    "Level",
    "Times",
    "in_turn",
    "ladder",
    "search",
    "single",
    "steps_of",
]
