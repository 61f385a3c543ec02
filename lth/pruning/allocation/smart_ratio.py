"""SmartRatio: densities that fall quadratically with depth (Su et al., NeurIPS 2020, arXiv 2009.11094)."""

from collections.abc import Mapping

from lth.pruning.allocation.counts import amount, apportion, available, check_density, count_kept
from lth.pruning.topk import Scores

_ENDS = ("first", "head")


def smart_ratio(
    scores: Scores,
    density: float,
    *,
    head: float = 0.3,
    vgg: bool = False,
    as_published: bool = False,
    ends: Mapping[str, float] | None = None,
) -> dict[str, int]:
    """Layer l of L has a density proportional to (L-l+1)^2 + (L-l+1), the classifier has density `head`.

    What a full layer cannot hold goes to the next layers that are not full.
      head: density of the classifier
      vgg: divide the densities by l^2
      as_published: round counts down, which misses the total by a few weights
      ends: densities for `first` (the first layer) and `head` that replace the computed ones after scaling, so that the
        total changes (second variant of arXiv 2202.12002, with the densities of a Gem-Miner ticket)
    Raises ValueError if the classifier alone takes up the budget, and if a layer cannot hold its density in `ends`.
    """
    return _by_depth(scores, density, head, vgg, as_published) | _ends(scores, ends or {}, as_published)


def _by_depth(scores: Scores, density: float, head: float, vgg: bool, as_published: bool) -> dict[str, int]:
    sizes = {name: score.numel() for name, score in scores.items()}
    *hidden, last = sizes
    budget = amount(scores, density) - head * sizes[last]
    if budget <= 0:
        raise ValueError(f"density {density} is at or below the classifier's {head} of {sizes[last]} weights")
    depth = len(sizes)
    raw = {n: _falling(depth - i) / (i + 1) ** (2 if vgg else 0) for i, n in enumerate(hidden)}
    scale = budget / sum(sizes[n] * raw[n] for n in hidden)
    real = _spill({n: scale * raw[n] for n in hidden}, sizes) | {last: head * sizes[last]}
    if as_published:
        return {name: int(value + 1e-9) for name, value in real.items()}
    return apportion(real, amount(scores, density), available(scores))


def _ends(scores: Scores, ends: Mapping[str, float], as_published: bool) -> dict[str, int]:
    if unknown := [end for end in ends if end not in _ENDS]:
        raise ValueError(f"smart_ratio has no ends {unknown}; they are {_ENDS}")
    *_, last = scores
    names, capacity, counts = dict(zip(_ENDS, (next(iter(scores)), last), strict=True)), available(scores), {}
    for end, density in ends.items():
        name, size = names[end], scores[names[end]].numel()
        counts[name] = int(check_density(density) * size + 1e-9) if as_published else count_kept(density, size)
        if counts[name] > capacity[name]:
            raise ValueError(
                f"ends.{end}={density} asks {name} for {counts[name]} weights; it has {capacity[name]} left"
            )
    return counts


def _falling(height: int) -> int:
    return height**2 + height


def _spill(densities: dict[str, float], sizes: dict[str, int]) -> dict[str, float]:
    """Weights of each layer; what exceeds a density of 1 goes to the next layers that are not full, in order."""
    surplus, real = 0, {}
    for name, density in densities.items():
        if density >= 1:
            surplus += int((density - 1) * sizes[name])
            real[name] = float(sizes[name])
        else:
            moved = min(surplus, int((1 - density) * sizes[name]))
            surplus -= moved
            real[name] = float(sizes[name]) if surplus else density * sizes[name] + moved
    return real
