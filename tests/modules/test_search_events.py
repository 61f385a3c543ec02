"""Events of a search: which weights they remove, when, and what that leaves to the scores."""

from itertools import pairwise

import pytest
import pytorch_lightning as pl
import torch

from lth.experiment.build import Experiment
from lth.storage.folder import RunFolder
from tests.support.harness import configuration
from tests.support.searching import begun, fit, scores


class Flags(pl.Callback):
    """Notes the flags and the rounded masks at every epoch's start."""

    def __init__(self):
        self.kept, self.masks = [], []

    def on_train_epoch_start(self, trainer, pl_module):
        self.kept.append(pl_module.masks.kept)
        self.masks.append(pl_module.masks.clone())


@pytest.mark.slow
def test_flags_shrink_at_events_only_and_by_the_published_number(tmp_path):
    built, module, boundary = begun(tmp_path, "gem_miner", "recipe.epochs=5", "method.period=2")
    flags = Flags()
    fit(built, module, *boundary, flags)
    n, rate = built.masks.total, 1 - 0.3 ** (1 / 2)
    first = n - int(-(-rate * n // 1))
    assert flags.kept == [n, n, n, first, first]
    assert module.masks.kept == first - int(-(-rate * first // 1))
    assert all((later[k] <= earlier[k]).all() for earlier, later in pairwise(flags.masks) for k in later)
    assert [event["removed"] for event in module.events] == [n - first, first - module.masks.kept]


@pytest.mark.slow
def test_no_gradient_reaches_a_score_that_is_frozen_out(tmp_path):
    built, module, boundary = begun(tmp_path, "gem_miner", "method.strength=0")
    fit(built, module, *boundary)
    module.train()
    for score in module.scores:
        score.data.mul_(0.6)  # some active ones under one half
    x, labels = next(iter(built.data.train_dataloader()))
    module.zero_grad()
    module.loss(module(x), labels).backward()
    rounded = module.current_masks()
    for (name, flag), score in zip(module.masks.items(), module.scores, strict=True):
        assert not score.grad[flag == 0].any()
        assert score.grad[(flag == 1) & ~rounded[name]].any()  # active weights under one half may come back


@pytest.mark.slow
def test_a_threshold_takes_out_what_is_low_at_each_event_and_the_last_rounding_decides_the_rest(tmp_path):
    options = "method/freezing=threshold", "method.period=2", "recipe.epochs=6", "method.strength=0", "recipe.lr=5"
    built, module, boundary = begun(tmp_path, "hypercube", *options)
    flags = Flags()
    fit(built, module, *boundary, flags)
    first, second, rounding = module.events
    n = built.masks.total
    assert flags.kept == [n] * 3 + [first["flagged"]] * 2 + [second["flagged"]] == sorted(flags.kept, reverse=True)
    assert first["removed"] == n - first["flagged"] > 0
    assert second["removed"] == first["flagged"] - second["flagged"] > 0  # low since the first event
    assert [event["used"] == event["flagged"] for event in module.events[:2]] == [True, True]
    assert [event["planned_density"] for event in module.events[:2]] == [None, None]
    assert {event["status"] for event in module.events} == {"ok"}
    low = [(f == 1) & (s <= 0.5) for f, s in zip(module.masks.values(), module.scores, strict=True)]
    assert any(mask.any() for mask in low), "no score fell to one half or below after the last event"
    assert rounding["used"] == second["flagged"] - sum(int(mask.sum()) for mask in low)


@pytest.mark.slow
def test_a_search_whose_scores_all_round_to_zero_ends_at_the_density_asked_for(tmp_path):
    dead = "method/score_init=constant", "method.score_init.value=0.5", "method.search.lr=1e-12"
    built, module, boundary = begun(tmp_path, "gem_miner", *dead)
    fit(built, module, *boundary)
    assert module.event_state.status == "dead_network"
    assert module.masks.kept == round(0.3 * built.masks.total)
    assert [event["status"] for event in module.events] == ["dead_network"] * 2


@pytest.mark.slow
def test_the_iterative_density_comes_from_the_events_and_weights_may_return(tmp_path):
    built, module, boundary = begun(tmp_path, "global_edge_popup_iterative", "recipe.epochs=4", "recipe.lr=10")
    used, density = [], []

    class Used(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            density.append(pl_module.density)
            used.append({k: v.clone() for k, v in pl_module.current_masks().items()})

    fit(built, module, *boundary, Used())
    n = built.masks.total
    assert density == pytest.approx([0.3 ** (1 / 3), 0.3 ** (1 / 3), 0.3 ** (1 / 3), 0.3 ** (2 / 3)])
    assert [sum(int(m.sum()) for m in masks.values()) for masks in used] == [n - int((1 - d) * n) for d in density]
    assert any((later[k] & ~earlier[k]).any() for earlier, later in pairwise(used) for k in later)
    assert module.masks.kept == n  # no flags


@pytest.mark.slow
def test_half_of_all_active_weights_start_anew_at_the_epoch_asked_for(tmp_path):
    options = (
        "method=warm_gem_miner",
        "method.warm=1ep",
        "method.drop_half=2",
        "method.period=1",
        "sparsity.density=0.3",
        "model.init=kaiming_normal",  # a new weight differs from the old one
    )
    built = Experiment(configuration(tmp_path, *options), RunFolder(tmp_path))
    level, seen = built.levels[1], []
    module, boundary = built.build_level(level)
    module.load_previous(None)

    class Scores(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            seen.append((scores(pl_module), pl_module.masks.clone()))

    built.trainer(level, [*boundary, Scores()], []).fit(module, datamodule=built.data)
    flat = [torch.cat([score.flatten() for score in at]) for at, _ in seen]
    assert [bool(((s > 0) & (s < 1)).any()) for s in flat] == [True, True, False]
    sizes = torch.cat([w.detach().abs().flatten() for w in module.masks.weights(built.net)])
    active = torch.cat([flag.flatten() for flag in seen[2][1].values()]).bool()
    assert 0 < active.sum() < len(active)  # an event came before
    assert sizes[active & (flat[2] == 0)].max() < sizes[active & (flat[2] == 1)].min()
    assert (flat[2][active] == 1).sum() == active.sum() // 2
    assert torch.equal(flat[2] == 1, sizes >= sizes[flat[2] == 1].min())  # one bound for the whole network
    assert module.masks.kept < seen[2][1].kept
