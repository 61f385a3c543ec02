"""Searching a ticket among frozen weights: scores are trained, weights are not (strong tickets, Rare Gems)."""

import logging
from typing import Any

import torch
from torch import Tensor, nn

from lth.modules.scaled_weights import ScaledWeights
from lth.pruning.allocation import count_kept
from lth.pruning.masks import fingerprint, zero_
from lth.pruning.search.biases import biases_of, layers_of
from lth.pruning.search.freezing import Events, freeze_
from lth.pruning.search.regulariser import Regulariser
from lth.pruning.search.rounding import rounding_of
from lth.pruning.search.score_init import ScoreInit
from lth.pruning.search.selection import Selection
from lth.pruning.search.straight_through import straight_through
from lth.pruning.seeds import generator
from lth.training.ranks import assert_same, broadcast_

log = logging.getLogger(__name__)


class ScoreSearch(ScaledWeights):
    """Trains one score a prunable weight; the network computes with weight * mask(score), every other tensor frozen.

    `masks` are the flags: weights that may be used, at first the support; events take some out for good.
    score_init: of the scores. rule: from scores to masks. regulariser, strength: `strength` times the sum over all
    scores; strength_times_n gives the same divided by the number of scores. period: epochs between events, null = none.
    until, shape: of the events. freezing: what an event takes out, null = events only move the density of the rule.
    restore: the ticket is the flags alone; otherwise flags and rounded scores. rounding, rounding_noise: of scores in
    [0, 1] that are used unrounded until the end (`lth.pruning.search.rounding`). biases: those of prunable layers have
    scores too and share their layer's count; unchosen ones are zero, and no event takes any out. score_seed: the
    pruning seed.
    Sources: arXiv 1911.13299 (edge-popup), 2202.12002 (Gem-Miner), 2210.02412 (strong tickets in random nets).
    """

    def __init__(
        self,
        *args: Any,
        score_init: ScoreInit,
        rule: Any,
        regulariser: Regulariser | None = None,
        strength: float | None = None,
        strength_times_n: float | None = None,
        period: int | None = None,
        until: float = 1.0,
        shape: str = "geometric",
        freezing: Any = None,
        restore: bool = False,
        rounding: str = "naive",
        rounding_noise: float = 0.0,
        biases: bool = False,
        score_seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        if strength is not None and strength_times_n is not None:
            raise ValueError(
                "give strength or strength_times_n, not both: they are the same number, divided by N or not"
            )
        self.score_init, self.rule, self.score_seed, self.restore = score_init, rule, score_seed, restore
        self.rounding = rounding_of(rounding, rounding_noise, self.loses_by_rounding)
        self.biases = biases_of(self.net, self.masks) if biases else {}
        self._counted = freezing is None or freezing.counted
        self._limited = freezing is not None or self.support.kept < self.support.total
        self._groups = layers_of(self.masks, self.biases)
        self.regulariser = regulariser or Regulariser()
        self.strength = strength or (strength_times_n or 0.0) / self.masks.total
        self.freezing, self.status, self.events_done = freezing, "ok", 0
        epochs = self._epochs = self.level.steps // self.level.budget.epoch
        start, end = self.support.density, self.level.density
        self.schedule = Events(epochs, period, start, end, until, shape) if period else None
        scored = [*self.masks.values(), *self.biases.values()]
        self.scores = nn.ParameterList([torch.zeros(t.shape, dtype=t.dtype, device=t.device) for t in scored])
        self._refuse_what_does_not_fit()
        self._check_counts()

    def setup(self, stage: str) -> None:
        self.net.requires_grad_(False)

    def load_previous(self, before: dict[str, Any] | None) -> None:
        """Scores of the level before, where it was a search too (annealing); drawn otherwise."""
        if before is not None and "flags" in before:
            self.masks.copy_(before["flags"])
            for index, score in enumerate(self.scores):
                score.data.copy_(before["state_dict"][f"scores.{index}"])
            for name, bias in self.biases.items():  # in `found` the unchosen ones are zero: they may come back
                bias.data.copy_(before["state_dict"][f"net.{name}"])
            return
        for name, score, tensor in zip(self._names, self.scores, self._frozen, strict=True):
            score.data.copy_(self.score_init(tensor, generator("scores", self.score_seed, name)))

    def on_fit_start(self) -> None:
        broadcast_([score.data for score in self.scores])
        self.hold_weights()

    def effective(self) -> dict[str, Tensor]:
        rule = self.rule if self.training else getattr(self.rule, "settled", self.rule)
        masks = self._selection(rule, self.density)
        used = straight_through(list(self.scores), masks, self._usable, self.rule.signed)
        return dict(zip(self._names, used, strict=True))

    @property
    def density(self) -> float:
        """What the rule is asked for: the level's density, or where the events have led."""
        if self.schedule is None or self.freezing is not None:
            return self.level.density
        return self.schedule.density(max(1, self.events_done))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.recipe.optimizer(
            [{"params": list(self.scores), "weight_decay": self.recipe.weight_decay}], lr=self.recipe.lr
        )

    @torch.no_grad()
    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.strength:
            pull = self.regulariser.gradient(list(self.scores), self._usable)
            torch._foreach_add_([s.grad for s in self.scores], pull, alpha=self.strength)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if self.rule.boxed:
            box = [s.data for s in self.scores]
            torch._foreach_clamp_min_(box, 0.0)
            torch._foreach_clamp_max_(box, 1.0)

    def on_train_epoch_end(self) -> None:
        # Lightning calls the module after the callbacks: the epoch's row is written, the checkpoint is not
        if self.loses_by_rounding and self.current_epoch + 1 == self._epochs and self.validated:
            self._compare_rounded()
        if self.schedule is None or self.schedule.done(self.current_epoch + 1) <= self.events_done:
            return
        self.events_done += 1
        flagged = self.masks.kept
        before = {f"{name}_before": value for name, value in self.validated.items()}
        if self.freezing is not None:
            self._freeze(self.freezing)
        event = {
            "epoch": self.current_epoch,
            "event": self.events_done,
            "planned_density": self.schedule.density(self.events_done) if self._counted else None,
            "flagged": self.masks.kept,
            "removed": flagged - self.masks.kept,
            "used": sum(int(k.sum()) for k in self.current_masks().values()),
            "status": self.status,
        }
        self.events.append(event | before | {f"{name}_after": value for name, value in self._validate_now().items()})

    def final_masks(self) -> dict[str, Tensor]:
        flags = self.masks.bools()
        if self.restore:
            return flags
        rounded = self._rounded()
        return {name: rounded[name] & flag for name, flag in flags.items()}

    def current_masks(self) -> dict[str, Tensor]:
        if self._final:
            return self.masks.bools()
        rounded = self._rounded()
        return {name: rounded[name] & flag for name, flag in self.masks.bools().items()}

    def final_weights(self) -> dict[str, Tensor]:
        """Biases as the ticket has them, unchosen ones zero; the weights' masks say which of those it has."""
        if self._final:
            return {name: bias.detach() for name, bias in self.biases.items()}
        chosen = self._rounded() if self.biases else {}
        return {name: bias.detach() * chosen[name] for name, bias in self.biases.items()}

    def starting_weights(self) -> dict[str, Tensor]:
        return super().starting_weights() | self.final_weights()

    @torch.no_grad()
    def finalize_(self) -> None:
        self._keep_whole()
        masks, biases = self.final_masks(), self.final_weights()
        self.masks.copy_(masks)
        self.masks.apply_(self.net)
        for name, bias in self.biases.items():
            bias.copy_(biases[name])
        self._final = True

    def summary(self) -> dict[str, float]:
        summary = super().summary()
        if summary:
            total, n = sum(p.numel() for p in self.net.parameters()), self.masks.total
            used = sum(int(k.sum()) for k in self.current_masks().values())
            final = sum(int(k.sum()) for k in self.final_masks().values())
            summary |= {"density_flag": self.masks.kept / n, "density_ticket": final / n, "events": self.events_done}
            summary["density_params"] = (total - n + used) / total
            if self.biases:
                eligible = sum(b.numel() for b in self.biases.values())
                chosen = sum(int(self._rounded()[name].sum()) for name in self.biases)
                summary["density_biases"] = chosen / eligible
                summary["density_params"] -= (eligible - chosen) / total
        return summary

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["flags"] = {name: flag.cpu() for name, flag in self.masks.bools().items()}
        done = {name: getattr(self, name) for name in ("events_done", "events", "status", "scales")}
        checkpoint["search"] = done

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.masks.copy_(checkpoint["flags"])
        for name, value in checkpoint["search"].items():
            setattr(self, name, value)

    def _freeze(self, freezing: Any) -> None:
        if self.status == "dead_network":
            return
        assert self.schedule is not None
        kept, target = self.masks.kept, count_kept(self.level.density, self.masks.total)
        left = max(1, self.schedule.left(kept, self.events_done, self.masks.total))
        status = freeze_(self.masks, freezing, self._by_name(), left, target, self.current_masks)
        if status != "ok":
            self.status = status
            log.warning("search: %s after event %d", status.replace("_", " "), self.events_done)
        broadcast_(list(self.masks.values()))
        assert_same("flags", fingerprint(self.masks.bools()))
        self.hold_weights()

    @torch.no_grad()
    def _validate_now(self, held: dict[str, Tensor] | None = None) -> dict[str, float]:
        """Validation with the masks as an event left them, or with `held`; the epoch's own came before it."""
        self.eval()
        self._held = held or self._detached()
        for x, labels in self.trainer.datamodule.val_dataloader() or ():
            self._evaluate("val", (x.to(self.device, self.dtype), labels.to(self.device)))
        self._held = None
        self.train()
        return self._measured("val") if self.validated else {}

    def hold_weights(self) -> None:
        """The frozen weights, zero where they may not be used: what the forward and the gradient multiply with."""
        self._selection = self._select()
        self._usable = [tensor.detach().clone() for tensor in self._frozen]
        zero_(self._usable[: len(self.masks)], list(self.masks.values()))

    @property
    def _frozen(self) -> list[nn.Parameter]:
        return [*self.masks.weights(self.net), *self.biases.values()]

    @property
    def _names(self) -> list[str]:
        return [*self.masks, *self.biases]

    def _select(self) -> Selection:
        """For the masks, of weights, then of biases, that a rule makes of the scores."""
        flags = [*self.masks.values(), *map(torch.ones_like, self.biases.values())] if self._limited else []
        return Selection(list(self.scores), flags, self._groups if self.biases else None)

    @torch.no_grad()
    def _rounded(self) -> dict[str, Tensor]:
        if not self.rule.boxed:
            masks = self._select()(self.rule, self.density)
            return {name: mask.bool() for name, mask in zip(self._names, masks, strict=True)}
        return {
            name: self.rounding(score.detach(), generator("rounding", self.score_seed, name))
            for name, score in zip(self._names, self.scores, strict=True)
        }

    @property
    def loses_by_rounding(self) -> bool:
        """Whether the network is validated with other masks than it ends with."""
        return not self.rule.binary

    @torch.no_grad()
    def _compare_rounded(self) -> None:
        rounded = self._rounded()
        held = {n: w * rounded[n] for n, w in zip(self._names, self._usable, strict=True)}
        used = sum(int((rounded[n] & flag).sum()) for n, flag in self.masks.bools().items())
        row = {"epoch": self.current_epoch, "event": "rounding", "used": used, "status": self.status}
        row |= {f"{name}_before": value for name, value in self.validated.items()}
        self.events.append(row | {f"{name}_after": value for name, value in self._validate_now(held).items()})

    def _refuse_what_does_not_fit(self) -> None:
        if not self._counted and not (self.rule.boxed and self.schedule and self.schedule.total):
            needs = f"scores in [0, 1] (method/rule=rounded) and method.period with an event in {self._epochs} epochs"
            raise ValueError(f"method/freezing=threshold needs {needs}")
        if self.biases and self.freezing is not None:
            raise ValueError("biases=true goes with searches whose events take nothing out for good (freezing=null)")

    def _by_name(self) -> dict[str, Tensor]:
        return dict(zip(self.masks, self.scores, strict=False))

    def _check_counts(self) -> None:
        if hasattr(self.rule, "counts"):
            sizes = [m.numel() for m in self.masks.values()]
            room = list(self.support.kept_by_layer().values())
            for i, group in enumerate(self._groups):
                extra = sum(self.scores[j].numel() for j in group[1:])
                sizes[i], room[i] = sizes[i] + extra, room[i] + extra
            self.rule.check(sizes, room, self.density)
