"""Rare gems (repository pruning_is_enough, arXiv 2202.12002): flags and scores of each weight, or the masks of IMP."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from lth.tickets.formats._assemble import assemble, starting
from lth.tickets.formats._encodings import as_bool
from lth.tickets.formats._masks_from_scores import above_global, given_density, largest_by_layer, layers_with
from lth.tickets.formats._names import plain
from lth.tickets.formats._safely import load
from lth.tickets.formats.content import of_checkpoint
from lth.tickets.formats.content import read as read_content
from lth.tickets.ticket import Ticket

Layers = Mapping[str, Tensor]
_BESIDE = (".flag", ".scores", ".bias_flag", ".bias_scores")
_NEEDS = "this algorithm needs"
_ALGORITHMS: dict[str, Callable[[Layers, Layers, float | None], dict[str, Tensor]]] = {
    "hc_iter": lambda flags, scores, _: {n: (flags[n] == 1) & (scores[n] > 0.5) for n in scores},
    "hc": lambda flags, scores, _: {n: (flags[n] == 1) & (torch.round(scores[n]) == 1) for n in scores},
    "ep": lambda flags, scores, density: largest_by_layer(scores, given_density(density, _NEEDS)),
    "global_ep": lambda flags, scores, density: above_global(scores, given_density(density, _NEEDS)),
    "smart_ratio": lambda flags, scores, _: {n: flags[n] == 1 for n in flags},
}


def read(
    source: Path, weights: Path | None = None, algorithm: str | None = None, density: float | None = None
) -> Ticket:
    """A state dict with flags and scores, or a `_mask.npy` of IMP.

    weights: the rewind checkpoint, required for IMP; None = the weights in the state dict
    algorithm: hc_iter (Gem-Miner), hc, ep, global_ep or smart_ratio; required for a state dict
    density: fraction of weights kept; required for ep and global_ep
    """
    source = Path(source)
    if source.suffix == ".npy":
        return _read_imp(source, weights)
    if algorithm not in _ALGORITHMS:
        raise ValueError(
            f"algorithm={algorithm!r} is not one of {list(_ALGORITHMS)}: the file does not say which was used"
        )
    content = of_checkpoint(load(source), source)
    flags, scores = layers_with(content.weights, "flag"), layers_with(content.weights, "scores")
    if not flags or set(flags) != set(scores):
        raise ValueError(f"{source} does not hold flags and scores of each weight")
    masks = _ALGORITHMS[algorithm](flags, scores, density)
    differing = [name for name in masks if not torch.equal(masks[name], flags[name] == 1)]
    start = {n: w for n, w in starting(weights, content).items() if not n.endswith(_BESIDE)}
    return assemble(
        "rare_gems", masks, start, source, algorithm=algorithm, density=density, differs_from_flags=differing or None
    )


def _read_imp(source: Path, weights: Path | None) -> Ticket:
    if weights is None:
        raise ValueError(f"{source} holds only masks: give the weights of its rewind checkpoint")
    masks = {n: as_bool(m, n) for n, m in plain(load(source)).items() if not n.endswith("_mask_bias")}
    return assemble("rare_gems", masks, read_content(weights).weights, source, start=Path(weights).name)
