"""Dotted paths of `_target_`s that have moved: old -> new, for comparing configurations that earlier runs stored."""

RENAMED: dict[str, str] = {
    "lth.pruning.search.rule.Largest": "lth.pruning.search.mask_rules.Largest",
    "lth.pruning.search.rule.Relaxed": "lth.pruning.search.mask_rules.Relaxed",
    "lth.pruning.search.rule.Rounded": "lth.pruning.search.mask_rules.Rounded",
    "lth.pruning.search.rule.Sampled": "lth.pruning.search.mask_rules.Sampled",
    "lth.pruning.search.threshold.Threshold": "lth.pruning.search.freezing.FreezeBelow",
}
