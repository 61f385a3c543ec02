"""The default run, from its configuration to its table, compared with a plain loop over the same levels."""

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.cases import CONF
from benchmarks.clock import timed
from benchmarks.interleave import Arm, Comparison
from benchmarks.setting import Setting
from lth.cli.run import register_resolvers
from lth.experiment.build import Experiment
from lth.experiment.loop import run
from lth.storage.folder import RunFolder


def comparisons(setting: Setting) -> Iterator[Comparison]:
    """All levels of `python run.py threads=1` without the imports: building, training, evaluation, files, pictures."""
    with TemporaryDirectory() as folder:
        small = ("recipe.epochs=1", "sparsity.density=0.5") if setting.quick else ()
        cfg = _configuration(*small, f"folder={folder}", "overwrite=true", "threads=1")
        plain = _PlainRun(Experiment(cfg, RunFolder(Path(folder))))
        arms = [
            Arm("lth", lambda: timed(lambda: _silently(cfg), setting.device)),
            Arm("hand-written loop", lambda: timed(plain.run, setting.device)),
        ]
        yield Comparison(f"{len(plain.densities)} levels", arms, aim="at most 1.6 times the hand-written loop")


def _configuration(*overrides: str) -> DictConfig:
    """The configuration of the command line `python run.py` with `overrides`."""
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def _silently(cfg: DictConfig) -> None:
    with redirect_stdout(io.StringIO()):
        run(cfg)


class _PlainRun:
    """IMP of the default network in plain torch: the same steps, a validation after each epoch, one test a level.

    experiment: gives images, network, densities and recipe
    """

    def __init__(self, experiment: Experiment):
        self.net, self.initial = experiment.net, experiment.initial
        self.densities = [level.density for level in experiment.levels]
        self.names, self.recipe = set(experiment.masks), experiment.recipes["train"]
        self.budget = experiment.levels[0].budget
        experiment.data.setup("test")
        data = experiment.data
        data.trainer = experiment.trainer(experiment.levels[0], [], [])
        self.train, self.validation, self.test = (
            tuple(torch.cat(part) for part in zip(*loader, strict=True))
            for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
        )

    def run(self) -> None:
        """Train all levels from the initial weights, and prune the smallest weights of all layers between them."""
        self.net.load_state_dict(self.initial)
        masks = {name: torch.ones_like(w) for name, w in self.net.named_parameters() if name in self.names}
        for index, density in enumerate(self.densities):
            if index:
                masks = self.pruned(masks, density)
                self.net.load_state_dict(self.initial)
            self.train_level(masks)

    def pruned(self, masks: dict[str, Tensor], density: float) -> dict[str, Tensor]:
        """The masks of the largest weights, of all layers together. density: fraction of the weights to keep"""
        sizes = {name: (w.detach() * masks[name]).abs() for name, w in self.net.named_parameters() if name in masks}
        every = torch.cat([size.flatten() for size in sizes.values()])
        least = every.topk(round(density * every.numel())).values[-1]
        return {name: (size >= least).to(size.dtype) for name, size in sizes.items()}

    def train_level(self, masks: dict[str, Tensor]) -> None:
        """Train with the weights outside `masks` at zero."""
        optimizer = self.recipe.build(self.net, self.names)
        weights = [(w, masks[name]) for name, w in self.net.named_parameters() if name in masks]
        budget, clock = self.budget, self.recipe.clocks(self.budget)
        self.apply(weights)
        step = 0
        for _ in range(budget.horizon // budget.epoch):
            self.net.train()
            order = torch.randperm(len(self.train[1]))
            for chosen in order[: budget.epoch * self.recipe.batch_size].split(self.recipe.batch_size):
                for group in optimizer.param_groups:
                    group["lr"] = self.recipe.lr * clock(step)
                optimizer.zero_grad()
                cross_entropy(self.net(self.train[0][chosen]), self.train[1][chosen]).backward()
                optimizer.step()
                self.apply(weights)
                step += 1
            self.evaluate(self.validation)
        self.evaluate(self.test)

    @torch.no_grad()
    def apply(self, weights: list[tuple[nn.Parameter, Tensor]]) -> None:
        """Set the pruned weights to zero."""
        for weight, mask in weights:
            weight.mul_(mask)

    @torch.no_grad()
    def evaluate(self, images: tuple[Tensor, Tensor]) -> tuple[float, float]:
        """Loss and accuracy on images, in one batch."""
        self.net.eval()
        logits = self.net(images[0])
        return cross_entropy(logits, images[1]).item(), (logits.argmax(1) == images[1]).float().mean().item()
