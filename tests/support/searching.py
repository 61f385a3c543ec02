"""Searches that are about to be trained, and their training."""

from typing import Any

import torch

from lth.experiment.build import Experiment
from lth.modules.score_search import ScoreSearch
from lth.storage.folder import RunFolder
from tests.support.harness import configuration, usual

PLAIN = "recipe/optimizer=sgd", "recipe.optimizer.momentum=0", "recipe/schedule@method.search.schedule=constant"


def begun(tmp_path, method: str, *overrides: str) -> tuple[Experiment, ScoreSearch, list[Any]]:
    """The search of `method`, about to be trained."""
    return prepared(tmp_path, *usual(method, tmp_path), *overrides)


def prepared(tmp_path, *overrides: str) -> tuple[Experiment, ScoreSearch, list[Any]]:
    built = Experiment(configuration(tmp_path, *overrides), RunFolder(tmp_path))
    module, boundary = built.build_level(built.levels[0])
    built.load_start(built.levels[0], module)
    return built, module, boundary


def fit(built: Experiment, module: ScoreSearch, *callbacks: Any) -> ScoreSearch:
    level = built.levels[0]
    built.data.level = 0
    built.trainer(level, list(callbacks), []).fit(module, datamodule=built.data)
    return module


def scores(module: ScoreSearch) -> list[torch.Tensor]:
    return [score.detach().clone() for score in module.scores]
