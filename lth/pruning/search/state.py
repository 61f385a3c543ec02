"""The state of a mask search, apart from its training: scores, the weights allowed, and the events so far."""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lth.pruning.allocation import count_kept
from lth.pruning.masks import Masks, zero_
from lth.pruning.prunable import bias_name
from lth.pruning.search._selection import Selection
from lth.pruning.search._straight_through import straight_through
from lth.pruning.search.events import EventSchedule
from lth.pruning.search.rounding import Rounding
from lth.pruning.search.score_init import ScoreInit
from lth.pruning.seeds import generator
from lth.pruning.topk import largest

log = logging.getLogger(__name__)


class ScoreState:
    """One score for each entry of the scored tensors: the prunable weights and, where asked for, their layers' biases.

    net: the network, whose parameters are read and never written
    allowed: masks of the weights that may be used; events change them in place
    rule: makes masks of scores (`lth.pruning.search.mask_rules`)
    rounding: rounding of scores in [0, 1] at the end of the search
    seed: seed of the initial scores and of the rounding
    biases: whether biases have scores too; a bias and its layer's weights share one count
    limited: whether `allowed` can ever exclude a weight; False saves an operation in each step

    Raises ValueError when biases are asked for and no prunable layer has one.
    """

    def __init__(
        self,
        net: nn.Module,
        allowed: Masks,
        rule: Any,
        rounding: Rounding,
        seed: int = 0,
        biases: bool = False,
        limited: bool = True,
    ):
        rounding.check(rule.binary)
        self.net, self.allowed, self.rule, self.rounding, self.seed = net, allowed, rule, rounding, seed
        self.biases = _biases_of(net, allowed) if biases else {}
        self.names = [*allowed, *self.biases]
        self._layers, self._limited = _layers_of(allowed, self.biases), limited
        scored = [*allowed.values(), *self.biases.values()]
        self.scores: list[Tensor] = [nn.Parameter(torch.zeros(t.shape, dtype=t.dtype, device=t.device)) for t in scored]

    @torch.no_grad()
    def draw_(self, score_init: ScoreInit) -> None:
        """Draw initial scores; each tensor has a random stream of its own."""
        for name, score, tensor in zip(self.names, self.scores, self._frozen, strict=True):
            score.copy_(score_init(tensor, generator("scores", self.seed, name)))

    def refresh(self) -> None:
        """Copy the frozen tensors, zero where they are not allowed. Call after weights or `allowed` have changed."""
        self._selection = self._select()
        self.usable = [tensor.detach().clone() for tensor in self._frozen]
        zero_(self.usable[: len(self.allowed)], list(self.allowed.values()))

    def effective(self, density: float, training: bool) -> dict[str, Tensor]:
        """The tensors the network computes with (name -> tensor), differentiable in the scores."""
        rule = self.rule if training else getattr(self.rule, "settled", self.rule)
        masks = self._selection(rule, density)
        used = straight_through(self.scores, masks, self.usable, self.rule.signed)
        return dict(zip(self.names, used, strict=True))

    @torch.no_grad()
    def rounded(self, density: float) -> dict[str, Tensor]:
        """The bool mask of every scored tensor. If scores lie in [0, 1], it may hold weights that are not allowed."""
        if not self.rule.boxed:
            masks = self._select()(self.rule, density)
            return {name: mask.bool() for name, mask in zip(self.names, masks, strict=True)}
        return {
            name: self.rounding(score.detach(), generator("rounding", self.seed, name))
            for name, score in zip(self.names, self.scores, strict=True)
        }

    @torch.no_grad()
    def rounded_tensors(self, density: float) -> dict[str, Tensor]:
        """The scored tensors times their rounded masks, zero where not allowed: what the search would end with now."""
        rounded = self.rounded(density)
        return {name: tensor * rounded[name] for name, tensor in zip(self.names, self.usable, strict=True)}

    def masks(self, density: float) -> dict[str, Tensor]:
        """The bool mask of every prunable weight: allowed, and chosen by its score."""
        rounded = self.rounded(density)
        return {name: rounded[name] & mask for name, mask in self.allowed.bools().items()}

    def chosen_biases(self, density: float) -> dict[str, Tensor]:
        """Every scored bias, zero where its rounded mask is 0."""
        chosen = self.rounded(density) if self.biases else {}
        return {name: bias.detach() * chosen[name] for name, bias in self.biases.items()}

    @torch.no_grad()
    def clamp_(self) -> None:
        """Clip scores to [0, 1], where the rule needs that."""
        if self.rule.boxed:
            scores = [score.data for score in self.scores]
            torch._foreach_clamp_min_(scores, 0.0)
            torch._foreach_clamp_max_(scores, 1.0)

    def parameter_densities(self, used: int, density: float) -> dict[str, float]:
        """Density of all parameters when `used` prunable weights are used, and density of the scored biases, if any."""
        total = sum(p.numel() for p in self.net.parameters())
        densities = {"density_params": (total - self.allowed.total + used) / total}
        if self.biases:
            eligible = sum(bias.numel() for bias in self.biases.values())
            rounded = self.rounded(density)
            chosen = sum(int(rounded[name].sum()) for name in self.biases)
            densities["density_biases"] = chosen / eligible
            densities["density_params"] -= (eligible - chosen) / total
        return densities

    def check_counts(self, support: Masks, density: float) -> None:
        """Raise ValueError when the rule asks a layer for more entries than `support` and its biases have."""
        if hasattr(self.rule, "counts"):
            sizes = [mask.numel() for mask in self.allowed.values()]
            room = list(support.kept_by_layer().values())
            for i, layer in enumerate(self._layers):
                extra = sum(self.scores[j].numel() for j in layer[1:])
                sizes[i], room[i] = sizes[i] + extra, room[i] + extra
            self.rule.check(sizes, room, density)

    @property
    def _frozen(self) -> list[nn.Parameter]:
        return [*self.allowed.weights(self.net), *self.biases.values()]

    def _select(self) -> Selection:
        """New mask buffers, weights first, then biases. A selection returns the same buffers at every call."""
        allowed = [*self.allowed.values(), *map(torch.ones_like, self.biases.values())] if self._limited else []
        return Selection(self.scores, allowed, self._layers if self.biases else None)


class EventState:
    """How many events of a search have happened, and their effect on the weights allowed or on the density.

    schedule: when events happen; None = never
    freezing: which weights an event freezes (`lth.pruning.search.freezing`); None = events lower the rule's density
    target: density the search ends with, 0..1

    The attribute `done` is the number of events so far. The attribute `status` is `ok` or the latest problem:
      tie_overshoot: ties froze more weights than asked for
      dead_network: after an event no weight was both allowed and chosen. Of the weights allowed before, those with the
        largest scores then stay allowed, as many as the final density keeps. Later events exclude nothing
    """

    def __init__(self, schedule: EventSchedule | None, freezing: Any, target: float):
        self.schedule, self.freezing, self.target = schedule, freezing, target
        self.counted = freezing is None or freezing.counted
        self.done, self.status = 0, "ok"

    def check(self, boxed: bool, biases: bool) -> None:
        """Raise ValueError for options that exclude each other.

        boxed: whether scores lie in [0, 1]
        biases: whether biases have scores
        """
        if not self.counted and not (boxed and self.schedule and self.schedule.total):
            raise ValueError(
                "method/freezing=threshold needs scores in [0, 1] (method/rule=rounded) and method.period with an "
                "event within recipe.epochs"
            )
        if biases and self.freezing is not None:
            raise ValueError("biases=true goes with searches whose events freeze nothing (freezing=null)")

    @property
    def density(self) -> float:
        """The density that the rule is asked for.

        It is the final one without a schedule, or where events exclude weights. Otherwise it is the schedule's density
        after the latest event; before the first event, already that of the first.
        """
        if self.schedule is None or self.freezing is not None:
            return self.target
        return self.schedule.density(max(1, self.done))

    @property
    def planned_density(self) -> float | None:
        """The schedule's density after the events so far; None where a threshold decides how many weights freeze."""
        return self.schedule.density(self.done) if self.schedule and self.counted else None

    def due(self, completed: int) -> bool:
        """Whether an event has to happen after `completed` epochs."""
        return self.schedule is not None and self.schedule.done(completed) > self.done

    def advance_(self, state: ScoreState, current: Callable[[], Mapping[str, Tensor]]) -> bool:
        """Perform the next event. Returns whether the masks in `state` changed, in place.

        current: returns the masks in use; if they keep no weight, the network is dead
        """
        self.done += 1
        if self.freezing is None or self.status == "dead_network":
            return False
        status = self._freeze_(state.allowed, dict(zip(state.names, state.scores, strict=True)), current)
        if status != "ok":
            self.status = status
            log.warning("search: %s after event %d", status.replace("_", " "), self.done)
        return True

    @torch.no_grad()
    def _freeze_(
        self, allowed: Masks, scores: Mapping[str, Tensor], current: Callable[[], Mapping[str, Tensor]]
    ) -> str:
        assert self.schedule is not None
        before, target = allowed.clone(), count_kept(self.target, allowed.total)
        left = max(1, self.schedule.left(before.kept, self.done, allowed.total))
        allowed.copy_(self.freezing(scores, before, left))
        if not any(bool(mask.any()) for mask in current().values()):
            ranked = {n: torch.where(b.bool(), scores[n].detach(), -torch.inf) for n, b in before.items()}
            allowed.copy_(largest(ranked, min(target, before.kept)))
            return "dead_network"
        return "tie_overshoot" if self.freezing.counted and allowed.kept < left else "ok"


def _biases_of(net: nn.Module, weights: Iterable[str]) -> dict[str, nn.Parameter]:
    parameters = dict(net.named_parameters())
    biases = {name: parameters[name] for name in map(bias_name, weights) if name in parameters}
    if not biases:
        raise ValueError("biases=true, but no prunable layer of this network has a bias (model.bias=true)")
    return biases


def _layers_of(weights: Iterable[str], biases: Iterable[str]) -> list[list[int]]:
    """The indices of each layer's tensors in the list of all weights, then all biases."""
    weights, biases = list(weights), list(biases)
    names = [*weights, *biases]
    own = map(bias_name, weights)
    return [[i, names.index(bias)] if bias in biases else [i] for i, bias in enumerate(own)]
