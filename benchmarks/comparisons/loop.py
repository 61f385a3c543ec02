"""The overhead of lth and Lightning: a level compared with a plain training loop on the same network and batches."""

from collections.abc import Iterator
from functools import partial

from benchmarks.cases import CASES, DIGITS, RESNET20, UNPRUNED, Case, timed_level
from benchmarks.interleave import Arm, Comparison
from benchmarks.level import PlainStep
from benchmarks.setting import Setting


def comparisons(setting: Setting) -> Iterator[Comparison]:
    """Training steps of a dense level, without start-up, evaluation and checkpoints."""
    for case in (*CASES, DIGITS):
        yield from compare(case, setting)


def compare(case: Case, setting: Setting) -> Iterator[Comparison]:
    """The comparison of one network; its temporary folder lasts until the next."""
    with timed_level(case, setting, *UNPRUNED) as level:
        by_hand = partial(level.by_hand, PlainStep, level.masks)
        arms = [Arm("lth", level.by_lth, level.images), Arm("hand-written loop", by_hand, level.images)]
        yield Comparison(case.title, arms, "images/s", "0.95 or more" if case is RESNET20 else "")
