"""What changed in stored configurations: renamed paths, moved keys and new keys. Runs of earlier versions are resumed.

Reports compare them with runs of this version.
"""

from functools import cache
from typing import Any

# Old path -> new path; the entry of a module applies to everything in it.
RENAMED: dict[str, str] = {
    "lth.callbacks.DropHalf": "lth.callbacks.RescoreByMagnitude",
    "lth.callbacks.Treat": "lth.callbacks.Control",
    "lth.callbacks.WholeUnits": "lth.callbacks.PruneBiasAndNorm",
    "lth.modules.optimizers": "lth.training.optimizers",
    "lth.modules.schedules": "lth.training.schedules",
    "lth.pruning.flow": "lth.pruning.repair",
    "lth.pruning.initial_weights.frozen.weights_and_biases": "lth.pruning.initial_weights.with_biases.draw_with_biases",
    "lth.pruning.initial_weights.scale_fan.scale_fan": "lth.pruning.initial_weights.distributions.scale_fan",
    "lth.pruning.looks_linear": "lth.pruning.initial_weights.looks_linear",
    "lth.pruning.placement": "lth.pruning.position",
    "lth.pruning.repair.leave": "lth.pruning.repair.no_repair",
    "lth.pruning.search.initial.weights_and_biases": "lth.pruning.initial_weights.frozen.weights_and_biases",
    "lth.pruning.search.rule.Largest": "lth.pruning.search.mask_rules.Largest",
    "lth.pruning.search.rule.Relaxed": "lth.pruning.search.mask_rules.Relaxed",
    "lth.pruning.search.rule.Rounded": "lth.pruning.search.mask_rules.Rounded",
    "lth.pruning.search.rule.Sampled": "lth.pruning.search.mask_rules.Sampled",
    "lth.pruning.search.scale_fan.scale_fan": "lth.pruning.initial_weights.scale_fan.scale_fan",
    "lth.pruning.search.threshold.Threshold": "lth.pruning.search.freezing.FreezeBelow",
    "lth.pruning.structure": "lth.pruning.structured",
    "lth.pruning.structure.pruners": "lth.pruning.structured.thresholds",
    "lth.pruning.structure.unit": "lth.pruning.structured.units",
    "lth.pruning.structured.rankers": "lth.pruning.structured._rankers",
    "lth.pruning.topology.density": "lth.pruning.paths",
    "lth.pruning.topology.initial": "lth.pruning.topology.new_weights",
    "lth.pruning.weights": "lth.pruning.initial_weights.distributions",
    "lth.sanity.sanity": "lth.plan.sanity_plan.sanity",
    "lth.shares": "lth.plan.budget",
    "lth.tickets.small_dense": "lth.sanity.small_dense",
    "lth.training.optimizers.muon.Muon": "lth.training.optimizers.Muon",
    "lth.training.optimizers.preconditioned.SOAP": "lth.training.optimizers.SOAP",
    "lth.training.optimizers.preconditioned.Shampoo": "lth.training.optimizers.Shampoo",
    "lth.training.optimizers.sam.SAM": "lth.training.optimizers.SAM",
    "lth.training.optimizers.schedule_free.AdamWScheduleFree": "lth.training.optimizers.AdamWScheduleFree",
    "lth.training.optimizers.schedule_free.SGDScheduleFree": "lth.training.optimizers.SGDScheduleFree",
}
# Keys of a component, by its `_target_`, that are now inside a part of it: old key -> new key.
MOVED_KEYS: dict[str, dict[str, str]] = {
    "lth.callbacks.Gradual": {
        "criterion": "prune.criterion",
        "allocation": "prune.allocation",
        "rounds": "prune.rounds",
        "exact": "prune.exact",
        "every": "times.every",
        "begin": "times.begin",
        "end": "times.end",
    },
    "lth.callbacks.Regrow": {
        "drop": "update.drop",
        "grow": "update.grow",
        "scope": "update.scope",
        "regrow_dropped": "update.regrow_dropped",
        "initial": "update.initial",
        "every": "times.every",
        "begin": "times.begin",
        "stop": "times.end",
    },
}
# Keys that stored configurations of earlier versions lack: `_target_` of the component that has the key ("" = the whole
# configuration) -> key -> the value that gives the results of those versions.
ADDED: dict[str, dict[str, Any]] = {
    "": {"compute": "dense"},
    "lth.callbacks.Gradual": {
        "prune._target_": "lth.pruning.prune",
        "prune._partial_": True,
        "times._target_": "lth.plan.Times",
    },
    "lth.callbacks.Regrow": {
        "update._target_": "lth.pruning.topology.Update",
        "times._target_": "lth.plan.Times",
    },
}
# Keys that earlier versions stored and that no longer exist, because they changed no result.
REMOVED: frozenset[str] = frozenset()


@cache
def current_path(dotted: str) -> str:
    """The present path of `dotted`; unchanged if it was not renamed."""
    for _ in RENAMED:  # a path may have moved several times
        moved = _moved(dotted)
        if moved == dotted:
            break
        dotted = moved
    return dotted


def _moved(dotted: str) -> str:
    parts = dotted.split(".")
    for length in range(len(parts), 1, -1):  # the longest entry first
        head = ".".join(parts[:length])
        if head in RENAMED:
            return ".".join([RENAMED[head], *parts[length:]])
    return dotted
