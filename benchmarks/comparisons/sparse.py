"""The gain of `compute=auto` and `compute=sparse` over dense levels of the same density, all trained by lth."""

from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.cases import LENET, MLP, Case, timed_level
from benchmarks.interleave import Arm, Comparison
from benchmarks.setting import Setting

DENSITIES = (0.2, 0.1, 0.05, 0.02)
AIMS = {
    (LENET, 0.05): "1.8 or more",
    (LENET, 0.02): "2.2 or more",
    (MLP, 0.05): "4 or more",
    (MLP, 0.02): "7 or more",
}


def comparisons(setting: Setting) -> Iterator[Comparison]:
    """Training steps of levels that differ only in `compute`."""
    for case in (LENET,) if setting.quick else (LENET, MLP):
        for density in DENSITIES[-1:] if setting.quick else DENSITIES:
            yield from compare(case, density, setting)


def compare(case: Case, density: float, setting: Setting) -> Iterator[Comparison]:
    """The comparison of one network at one density; its temporary folders last until the next."""
    pruned = (
        "method=random",
        "sparsity=one_shot",
        f"sparsity.density={density}",
        "method.plan._target_=lth.plan.single",
    )
    with ExitStack() as stack:
        arms = []
        for mode in ("auto", "sparse", "dense"):
            level = stack.enter_context(timed_level(case, setting, *pruned, f"compute={mode}"))
            arms.append(Arm(mode, level.by_lth, level.images))
        yield Comparison(
            f"{case.title}, density {density:g}", arms, "images/s", AIMS.get((case, density), "0.97 or more")
        )
