"""Parts of weights that are kept or removed as one: of a single weight, or of several that share an index set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lth.pruning.structured.units import Unit, parts

Numbers = Mapping[str, Tensor]  # weight name -> the number of the part each element belongs to


@dataclass(frozen=True)
class Together:
    """`units` parts of the weights `ranked`, whose numbers say which element belongs to which.

    follow: further weights that lose elements with a part, as the next layer loses an input; -1 = of no part.
    """

    units: int
    ranked: Numbers
    follow: Sequence[tuple[str, Tensor]] = field(default=())

    @property
    def name(self) -> str:
        """The first weight's name, which stands for all."""
        return next(iter(self.ranked))


def alone(name: str, shape: Sequence[int], unit: Unit) -> Together:
    """The parts of one weight."""
    numbers = unit(shape)
    return Together(parts(numbers), {name: numbers})


def led(names: Sequence[str], shapes: Mapping[str, Sequence[int]], unit: Unit) -> Together:
    """Weights that lose the parts which the first of them loses. Raises ValueError where their counts differ."""
    leader, *rest = names
    own = {name: unit(shapes[name]) for name in names}
    counts = {name: parts(numbers) for name, numbers in own.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"a leader's weights must have as many parts as it has: {counts}")
    return Together(counts[leader], {leader: own[leader]}, [(name, own[name]) for name in rest])


def under(leading: Together, groups: Sequence[Together]) -> Together:
    """What the weights of `leading` and all that `groups` join to them lose by the ranking of its leader alone."""
    follow = list(leading.follow)
    for group in groups:
        for name, numbers in group.ranked.items():
            if not torch.equal(numbers, _first_dimension(numbers)):
                raise ValueError(f"a leader cannot lead {name}, whose outputs lie elsewhere in what layers join")
            follow.append((name, numbers))
        follow += group.follow
    return Together(leading.units, leading.ranked, follow)


def _first_dimension(numbers: Tensor) -> Tensor:
    return torch.arange(len(numbers)).view(-1, *[1] * (numbers.dim() - 1)).expand_as(numbers)


def removed(masks: Mapping[str, Tensor], together: Together) -> Tensor:
    """Which parts are gone: no element of any ranked weight is kept."""
    alive = torch.zeros(together.units, dtype=torch.bool, device=masks[together.name].device)
    for name, numbers in together.ranked.items():
        alive[numbers.to(alive.device)[masks[name].bool()]] = True
    return ~alive


def without(masks: Mapping[str, Tensor], together: Together, kept: Tensor) -> dict[str, Tensor]:
    """Those of `masks` that change where only the parts `kept` (bool) stay, as new bool tensors."""
    changed: dict[str, Tensor] = {}
    for name, numbers in (*together.ranked.items(), *together.follow):
        if name in masks:
            numbers = numbers.to(kept.device)
            stays = kept[numbers.clamp_min(0)] | (numbers < 0)
            changed[name] = changed.get(name, masks[name].bool()) & stays
    return changed
