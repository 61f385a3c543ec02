"""Searches a ticket among frozen weights by training one score per weight.

A weight is in one of three states:

- excluded: outside the support, or excluded by an event (Gem-Miner's freezing) for the rest of the search;
- allowed, not chosen: at the current scores the rule does not select the weight;
- chosen: the network computes with it.

Checkpoints store the allowed weights as `flags`, and as `masks` those that the ticket would have: all allowed weights
with `restore=True`, else the chosen ones. Scores of excluded weights keep changing by their penalty and momentum,
without effect.

Sources: arXiv 1911.13299 (edge-popup), 2202.12002 (Gem-Miner), 2210.02412 (strong tickets in random networks).
"""

from dataclasses import fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lth.modules._scaled_weights import ScaledWeights
from lth.pruning.masks import fingerprint
from lth.pruning.search.events import EventOptions
from lth.pruning.search.regulariser import Penalty
from lth.pruning.search.rounding import Rounding
from lth.pruning.search.score_init import ScoreInit
from lth.pruning.search.state import EventState, ScoreState
from lth.training.ranks import assert_same, broadcast_


class ScoreSearch(ScaledWeights):
    """Trains one score for each prunable weight; the network computes with weight * mask(score), all else is frozen.

    `masks` hold the allowed weights until `finalize_`.

    score_init: draws the initial scores
    rule: makes masks of scores (`lth.pruning.search.mask_rules`)
    freezing: which weights an event excludes; None = events only lower the density given to the rule
    restore: True: the ticket has all allowed weights; False: only those that their scores choose
    biases: whether biases have scores too; events never exclude any
    score_seed: the pruning seed
    options: the fields of `Penalty`, `EventOptions` and `Rounding`, and the arguments of `Classifier`
    """

    trains_network = False
    ignores = ("decay",)
    acts_with: ClassVar = {"until": "period", "shape": "period"}

    def __init__(
        self,
        *,
        score_init: ScoreInit,
        rule: Any,
        freezing: Any = None,
        restore: bool = False,
        biases: bool = False,
        score_seed: int = 0,
        **options: Any,
    ):
        penalty, events, rounding = (_take(group, options) for group in (Penalty, EventOptions, Rounding))
        super().__init__(**options)
        self.score_init, self.rule, self.restore, self.penalty = score_init, rule, restore, penalty
        limited = freezing is not None or self.support.kept < self.support.total
        self.score_state = ScoreState(self.net, self.masks, rule, rounding, score_seed, biases, limited)
        self.scores = nn.ParameterList(self.score_state.scores)
        self.epochs = self.level.steps // self.level.budget.epoch
        start, end = self.support.density, self.level.density
        self.event_state = EventState(events.schedule(self.epochs, start, end), freezing, end)
        self.event_state.check(rule.boxed, biases)
        self.score_state.check_counts(self.support, self.density)

    @property
    def density(self) -> float:
        """The density that the rule is given: the level's, or that of the last event where events lower it."""
        return self.event_state.density

    def load_previous(self, before: dict[str, Any] | None) -> None:
        """Take scores, allowed weights and biases of the level before if that was a search (annealing); else draw."""
        if before is None or "flags" not in before:
            self.score_state.draw_(self.score_init)
            return
        self.masks.copy_(before["flags"])
        for index, score in enumerate(self.scores):
            score.data.copy_(before["state_dict"][f"scores.{index}"])
        for name, bias in self.score_state.biases.items():  # those in "found" are zero where they were not chosen
            bias.data.copy_(before["state_dict"][f"net.{name}"])

    def on_fit_start(self) -> None:
        broadcast_([score.data for score in self.scores])
        self.refresh_weights()

    def refresh_weights(self) -> None:
        self.score_state.refresh()

    def effective(self) -> dict[str, Tensor]:
        return self.score_state.effective(self.density, self.training)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        groups = [{"params": list(self.scores), "weight_decay": self.recipe.weight_decay}]
        return self.recipe.optimizer(groups, lr=self.recipe.lr)

    @torch.no_grad()
    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.penalty.add_gradient_(self.score_state.scores, self.score_state.usable, self.masks.total)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.score_state.clamp_()

    def on_train_epoch_end(self) -> None:
        # Lightning calls the module after the callbacks: the epoch's row is written, the checkpoint is not
        if not self.rule.binary and self.current_epoch + 1 == self.epochs and self.validation_metrics:
            self._record_rounding()
        if self.event_state.due(self.current_epoch + 1):
            self._record_event()

    def final_masks(self) -> dict[str, Tensor]:
        return self.masks.bools() if self.restore else self.score_state.masks(self.density)

    def current_masks(self) -> dict[str, Tensor]:
        return self.masks.bools() if self._final else self.score_state.masks(self.density)

    def final_weights(self) -> dict[str, Tensor]:
        """The scored biases, zero where they are not chosen. The masks say which weights the ticket has."""
        if self._final:
            return {name: bias.detach() for name, bias in self.score_state.biases.items()}
        return self.score_state.chosen_biases(self.density)

    def starting_weights(self) -> dict[str, Tensor]:
        return super().starting_weights() | self.final_weights()

    @torch.no_grad()
    def finalize_(self) -> None:
        self._keep_unmasked()
        masks, biases = self.final_masks(), self.final_weights()
        self.masks.copy_(masks)
        self.masks.apply_(self.net)
        for name, bias in self.score_state.biases.items():
            bias.copy_(biases[name])
        self._final = True

    def summary(self) -> dict[str, float]:
        summary = super().summary()
        if summary:
            used, final, total = _count(self.current_masks()), _count(self.final_masks()), self.masks.total
            summary |= {"density_flag": self.masks.kept / total, "density_ticket": final / total}
            summary |= {"events": self.event_state.done, **self.score_state.parameter_densities(used, self.density)}
        return summary

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["flags"] = {name: mask.cpu() for name, mask in self.masks.bools().items()}
        done, status = self.event_state.done, self.event_state.status
        checkpoint["search"] = {"events_done": done, "events": self.events, "status": status, "scales": self.scales}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.masks.copy_(checkpoint["flags"])
        search = checkpoint["search"]
        self.event_state.done, self.event_state.status = search["events_done"], search["status"]
        self.events, self.scales = search["events"], search["scales"]

    def _record_event(self) -> None:
        state, before = self.event_state, self.masks.kept
        if state.advance_(self.score_state, self.current_masks):
            broadcast_(list(self.masks.values()))
            assert_same("flags", fingerprint(self.masks.bools()))
            self.refresh_weights()
        row = {"event": state.done, "planned_density": state.planned_density, "flagged": self.masks.kept}
        self._record({**row, "removed": before - self.masks.kept, "used": _count(self.current_masks())})

    def _record_rounding(self) -> None:
        used = _count(self.score_state.masks(self.density))
        self._record({"event": "rounding", "used": used}, self.score_state.rounded_tensors(self.density))

    def _record(self, row: dict[str, Any], weights: dict[str, Tensor] | None = None) -> None:
        """Append a row of `events`, with validation metrics before the event and after it (of `weights`, if given)."""
        before = {f"{name}_before": value for name, value in self.validation_metrics.items()}
        after = {f"{name}_after": value for name, value in self.validate_now(weights).items()}
        self.events.append({"epoch": self.current_epoch, **row, "status": self.event_state.status, **before, **after})


def _count(masks: dict[str, Tensor]) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


def _take(group: Any, options: dict[str, Any]) -> Any:
    """An instance of the dataclass `group`, whose fields are taken out of `options`.

    The configuration keeps these keys in one flat block, because stored configurations of earlier runs have it so.
    """
    return group(**{field.name: options.pop(field.name) for field in fields(group) if field.name in options})
