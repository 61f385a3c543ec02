"""The cost of masks: levels with masks of density 0.1, with masks of ones and without masks, all trained by lth."""

from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.cases import CASES, RESNET20, UNPRUNED, Case, timed_level
from benchmarks.interleave import Arm, Comparison
from benchmarks.setting import Setting

METHODS = {
    "masked (density 0.1)": (
        "method=random",
        "sparsity=one_shot",
        "sparsity.density=0.1",
        "method.plan._target_=lth.plan.single",
    ),
    "dense (masks of ones)": UNPRUNED,
    # a dense level multiplies by ones; this arm shows the cost of that multiplication
    "no masks": (
        *UNPRUNED,
        "method.stages.train.module._target_=lth.modules.classifier.Classifier",
        "method.stages.train.callbacks.prune=null",
    ),
}


def comparisons(setting: Setting) -> Iterator[Comparison]:
    """Training steps of levels that differ only in their masks."""
    for case in CASES:
        yield from compare(case, setting)


def compare(case: Case, setting: Setting) -> Iterator[Comparison]:
    """The comparison of one network; its temporary folders last until the next."""
    with ExitStack() as folders:
        levels = {name: folders.enter_context(timed_level(case, setting, *how)) for name, how in METHODS.items()}
        arms = [Arm(name, level.by_lth, level.images) for name, level in levels.items()]
        yield Comparison(case.title, arms, "images/s", "0.98 or more" if case is RESNET20 else "")
