"""Random re-initialisation: new initial weights under the ticket's masks (arXiv 1803.03635, 2107.00166)."""

import torch
from torch import Tensor

from lth.pruning.initial_weights.distributions import InitialWeights
from lth.pruning.masks import Masks
from lth.pruning.seeds import derive
from lth.pruning.topk import Scores
from lth.tickets.treatments._treatment import Draw, State, bools


def reinit(
    masks: State,
    weights: State,
    draw: Draw | None = None,
    seed: int = 0,
    scores: Scores | None = None,
    *,
    rule: InitialWeights | None = None,
    keep_signs: bool = False,
) -> tuple[State, State]:
    """A new state from the network's initialiser, batch-norm statistics included; masks unchanged.

    seed: a hash of it seeds the new weights, so that they differ from the ticket's
    rule: another distribution for the masked layers, from `lth.pruning.initial_weights`
    keep_signs: True gives the new magnitudes the ticket's signs (arXiv 1905.01067)

    Raises ValueError without `draw`, if the network does not fit the ticket, and if the weights stay the same.
    """
    if draw is None:
        raise ValueError("treatment=reinit draws new weights: it needs the network, which the ticket does not name")
    with torch.random.fork_rng():
        net = draw(derive("reinit", seed))
    if rule is not None:
        rule(net, Masks({name: masks[name].to(p) for name, p in net.named_parameters() if name in masks}), seed)
    new = {name: value.detach().clone() for name, value in net.state_dict().items()}
    _check_names(new, weights)
    if keep_signs:
        new |= {name: new[name].abs() * _sign(weights[name]) for name in masks}
    if all(torch.equal(new[name], weights[name].to(new[name])) for name in masks):
        raise ValueError("treatment=reinit: the new weights equal the ticket's; is the initialiser constant?")
    return bools(masks), new


def _sign(weights: Tensor) -> Tensor:
    """1, 0 or -1; NaN for the NaN of a weight that an incomplete ticket lacks, of which torch's sign is 0."""
    return torch.where(weights.isnan(), weights, weights.sign())


def _check_names(new: dict[str, Tensor], weights: State) -> None:
    differing = [n for n in {**new, **weights} if n not in new or n not in weights or new[n].shape != weights[n].shape]
    if differing:
        raise ValueError(f"treatment=reinit: the network and the ticket differ at {differing}")
