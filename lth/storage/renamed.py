"""Dotted paths of `_target_`s that have moved: old -> new, for comparing configurations that earlier runs stored."""

RENAMED: dict[str, str] = {
    "lth.pruning.initial_weights.frozen.weights_and_biases": "lth.pruning.initial_weights.with_biases.draw_with_biases",
    "lth.pruning.initial_weights.scale_fan.scale_fan": "lth.pruning.initial_weights.distributions.scale_fan",
    "lth.pruning.repair.leave": "lth.pruning.repair.no_repair",
    "lth.pruning.search.rule.Largest": "lth.pruning.search.mask_rules.Largest",
    "lth.pruning.search.rule.Relaxed": "lth.pruning.search.mask_rules.Relaxed",
    "lth.pruning.search.rule.Rounded": "lth.pruning.search.mask_rules.Rounded",
    "lth.pruning.search.rule.Sampled": "lth.pruning.search.mask_rules.Sampled",
    "lth.pruning.search.threshold.Threshold": "lth.pruning.search.freezing.FreezeBelow",
    "lth.training.optimizers.muon.Muon": "lth.training.optimizers.Muon",
    "lth.training.optimizers.preconditioned.SOAP": "lth.training.optimizers.SOAP",
    "lth.training.optimizers.preconditioned.Shampoo": "lth.training.optimizers.Shampoo",
    "lth.training.optimizers.sam.SAM": "lth.training.optimizers.SAM",
    "lth.training.optimizers.schedule_free.AdamWScheduleFree": "lth.training.optimizers.AdamWScheduleFree",
    "lth.training.optimizers.schedule_free.SGDScheduleFree": "lth.training.optimizers.SGDScheduleFree",
}
