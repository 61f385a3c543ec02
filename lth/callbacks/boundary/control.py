"""Applies a control (shuffled masks, fresh weights, ...) to a ticket before it is trained."""

from collections.abc import Callable

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lth.plan import Level
from lth.storage.checkpoint import copy_state_
from lth.tickets import Ticket
from lth.tickets.treatments import treated
from lth.tickets.treatments.none import none
from lth.training.ranks import broadcast_


class Control(Callback):
    """Applies a treatment, such as shuffled masks, to the masks and weights of a ticket when the level starts.

    level: the level being trained
    treatment: a function of `lth.tickets.treatments`
    seed: for the random numbers of the treatment

    Sources: arXiv 2009.11094, 2009.08576, 2202.12002.
    """

    def __init__(self, level: Level, treatment: Callable = none, seed: int = 0):
        self.level, self.treatment, self.seed = level, treatment, seed

    @torch.no_grad()
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path:
            return
        masks, net = pl_module.masks, pl_module.net
        before = {name: value.clone() for name, value in net.state_dict().items()}
        given = {"draw": pl_module.draw, "seed": self.seed, "scores": pl_module.scores_of_ticket}
        new = treated(self.treatment, Ticket(masks.bools(), before, {}, pl_module.missing_weights), **given)
        pl_module.missing_weights = new.missing
        masks.copy_(new.masks)
        copy_state_(net, dict(new.weights))
        broadcast_([*masks.values(), *(p.data for p in net.parameters())])
