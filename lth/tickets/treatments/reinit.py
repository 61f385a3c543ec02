"""Other initial weights under the same masks (random re-initialisation, arXiv 1803.03635, 2107.00166)."""

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
    """The whole state anew, batch-norm statistics included, by the network's own initialiser; masks as they are.

    rule: another distribution for the masked layers (`lth.pruning.initial_weights`). keep_signs: new magnitudes under
    the ticket's signs (arXiv 1905.01067). The new seed is a hash of `seed`, never the ticket's own.
    """
    if draw is None:
        raise ValueError("treatment=reinit draws the weights anew: it needs the network (a ticket that names its own)")
    with torch.random.fork_rng():
        net = draw(derive("reinit", seed))
    if rule is not None:
        rule(net, Masks({name: masks[name].to(p) for name, p in net.named_parameters() if name in masks}), seed)
    new = {name: value.detach().clone() for name, value in net.state_dict().items()}
    _check_names(new, weights)
    if keep_signs:
        new |= {name: new[name].abs() * weights[name].sign() for name in masks}
    if all(torch.equal(new[name], weights[name].to(new[name])) for name in masks):
        raise ValueError("treatment=reinit: the weights drawn anew are the ticket's own; is the initialiser constant?")
    return bools(masks), new


def _check_names(new: dict[str, Tensor], weights: State) -> None:
    differing = [n for n in {**new, **weights} if n not in new or n not in weights or new[n].shape != weights[n].shape]
    if differing:
        raise ValueError(f"treatment=reinit: the network and the ticket differ at {differing}")
