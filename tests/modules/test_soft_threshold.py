"""STR: learned thresholds sparsify, stay in the support, reach a given density, and end as an ordinary ticket."""

import logging

import pytest
import pytorch_lightning as pl
import torch
from torch.func import functional_call

from lth.experiment.build import Experiment
from lth.storage.checkpoint import load_checkpoint
from lth.storage.folder import RunFolder
from lth.tickets import Ticket
from tests.support.harness import configuration, train, train_apart
from tests.support.left import rows, state

PRUNING = ["method=str", "method.start=-3", "method.decay=0.02"]
CONTROLLED = ["method=str", "sparsity=one_shot", "sparsity.density=0.15", "method.start=-8", "method.every=2"]
LONG = ["recipe.epochs=6"]


def module(folder, *overrides: str):
    built = Experiment(configuration(folder, *overrides), RunFolder(folder))
    built.masks.copy_(built.support)
    return built, built.build_level(built.levels[0])[0]


def fitted(folder, *overrides: str, watch: tuple[pl.Callback, ...] = ()):
    built, soft = module(folder, *overrides)
    built.trainer(built.levels[0], list(watch), []).fit(soft, datamodule=built.data)
    return built, soft


@pytest.mark.slow
def test_at_minus_200_the_output_is_that_of_the_masked_weights_bit_for_bit(tmp_path):
    built, soft = module(tmp_path, "method=str", "support=erk", "support.density=0.3", "model.batch_norm=true")
    soft.eval()
    built.masks.apply_(built.net)
    x = torch.randn(7, 1, 8, 8)
    assert torch.equal(soft(x), built.net(x))
    assert {n: int(k.sum()) for n, k in soft.current_masks().items()} == built.support.kept_by_layer()


@pytest.mark.slow
def test_the_forward_pass_is_that_of_shrunk_weights(tmp_path):
    built, soft = module(tmp_path, "method=str", "method.start=-3")
    threshold = torch.sigmoid(torch.tensor(-3.0))
    named = dict(built.net.named_parameters())
    by_hand = {n: named[n].sign() * (named[n].abs() - threshold).clamp(min=0) for n in built.masks}
    x = torch.randn(7, 1, 8, 8)
    assert torch.equal(soft(x), functional_call(built.net, by_hand, (x,)))
    assert not torch.equal(soft(x), built.net(x))


class Inside(pl.Callback):
    """Nothing outside the support is ever other than zero: weights, effective weights, optimizer state."""

    steps = 0

    def on_train_batch_end(self, trainer, pl_module, *_):
        weights = pl_module.masks.weights(pl_module.net)
        for weight, (name, allowed) in zip(weights, pl_module.support.items(), strict=True):
            for tensor in (weight, pl_module.effective()[name], *trainer.optimizers[0].state[weight].values()):
                if torch.is_tensor(tensor) and tensor.shape == weight.shape:
                    assert not tensor[allowed == 0].any()
        self.steps += 1


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("target", [PRUNING, CONTROLLED], ids=["emergent", "controlled"])
def test_nothing_outside_the_support_is_ever_used(target, optimizer, tmp_path):
    inside = Inside()
    support = ["support=balanced", "support.density=0.4", f"recipe/optimizer={optimizer}"]
    _, soft = fitted(tmp_path, *target, *support, watch=(inside,))
    assert inside.steps == 12
    found = soft.final_masks()
    assert all((found[name] <= mask).all() for name, mask in soft.support.items())
    assert sum(int(m.sum()) for m in found.values()) < soft.support.kept


@pytest.mark.slow
def test_the_hardened_network_computes_exactly_what_the_soft_one_did(tmp_path):
    built, soft = fitted(tmp_path, *PRUNING, *LONG, "recipe.lr=0.1")
    x = torch.randn(50, 1, 8, 8)
    soft.eval()
    with torch.no_grad():
        before, kept = soft(x), sum(int(mask.sum()) for mask in soft.current_masks().values())
        soft.finalize_()
        assert torch.equal(soft(x), before)
        assert torch.equal(built.net(x), before)
    assert 0 < built.masks.kept == kept < built.masks.total
    weights = built.masks.weights(built.net)
    assert all(torch.equal(w != 0, mask.bool()) for w, mask in zip(weights, built.masks.values(), strict=True))


@pytest.mark.slow
def test_thresholds_have_their_own_weight_decay(tmp_path):
    _, soft = module(tmp_path, *PRUNING, "recipe.weight_decay=0.001")
    *others, last = soft.configure_optimizers().param_groups
    assert [group["weight_decay"] for group in others] == [0.001]
    assert (last["weight_decay"], last["params"][0] is soft.s) == (0.02, True)
    _, soft = module(tmp_path, "method=str", "recipe.weight_decay=0.001")
    assert soft.configure_optimizers().param_groups[-1]["weight_decay"] == 0.001


@pytest.mark.slow
@pytest.mark.parametrize(("scope", "count"), [("layer", 3), ("global", 1)])
@pytest.mark.parametrize("link", ["sigmoid", "exp"])
def test_one_threshold_a_layer_or_one_for_all(scope, count, link, tmp_path):
    start = -3.0
    _, soft = fitted(tmp_path, *PRUNING, f"method.scope={scope}", f"method.link={link}")
    assert soft.s.shape == (count,)
    assert len(soft.thresholds()) == 3
    assert not torch.equal(soft.s.detach(), torch.full((count,), start))
    assert len({g.item() for g in soft.thresholds()}) == count


@pytest.mark.slow
def test_a_schedule_that_can_never_prune_warns_before_training(tmp_path, caplog):
    long = [
        "sparsity.density=null",
        "recipe.lr=0.1",
        "recipe/schedule=cosine",
        "recipe.schedule.minimum=0.1",
        "recipe.epochs=160",
    ]
    with caplog.at_level(logging.INFO):
        module(tmp_path, "method=str", "recipe.weight_decay=1e-4", *long)
    assert "no threshold ever reaches 1e-3" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        module(tmp_path, "method=str", "recipe.weight_decay=0.05", *long)
    assert "lifts the thresholds over 1e-3 in epoch" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.slow
def test_a_given_density_is_reached_and_exactly_when_trimmed(tmp_path):
    train(tmp_path / "free", *CONTROLLED, *LONG)
    train(tmp_path / "trimmed", *CONTROLLED, *LONG, "method.trim=true")
    (free,), (trimmed,) = rows(tmp_path / "free"), rows(tmp_path / "trimmed")
    total = Ticket.load(tmp_path / "free" / "level_00_search" / "ticket.safetensors").total
    assert float(free["density"]) == pytest.approx(0.15, abs=0.02)
    assert int(trimmed["kept"]) == round(0.15 * total)


@pytest.mark.slow
@pytest.mark.parametrize("trim", [True, False])
def test_trimming_keeps_the_largest_of_what_is_over_the_density_at_the_levels_end(trim, tmp_path):
    _, soft = fitted(tmp_path, *CONTROLLED, f"method.trim={trim}")
    target = round(0.15 * soft.masks.total)
    with torch.no_grad():
        soft.s -= 2.0  # lower thresholds leave too many
    sizes = {name: weight.detach().abs() for name, weight in soft.effective().items()}
    found = soft.final_masks()
    left = torch.cat([sizes[name][mask] for name, mask in found.items()])
    gone = torch.cat([sizes[name][~mask] for name, mask in found.items()])
    assert gone.max() <= left.min()
    assert (len(left) == target) == trim
    assert len(left) >= target


@pytest.mark.slow
def test_fine_tuning_trains_what_was_found_under_its_mask(tmp_path):
    train(tmp_path, *PRUNING, *LONG, "method.finetune=true", "method.finetune_recipe.lr=0.01")
    search, tune = (load_checkpoint(level / "last.ckpt") for level in sorted(tmp_path.glob("level_*")))
    start = Ticket.load(tmp_path / "level_01_finetune" / "ticket.safetensors")
    for name, mask in search["masks"].items():
        assert torch.equal(mask, tune["masks"][name])
        assert torch.equal(start.weights[name], search["found"][name])
        assert torch.equal(mask, search["found"][name] != 0)
        end = tune["state_dict"][f"net.{name}"]
        assert not end[~mask].any()
        assert not torch.equal(end, start.weights[name])
    first, second = rows(tmp_path)
    assert first["density"] == second["density"] != "1.0"


@pytest.mark.slow
@pytest.mark.parametrize("kill", [5, 16])  # of twelve steps of the search, and eight of fine-tuning
def test_a_controlled_search_and_its_fine_tuning_resume_bit_for_bit(kill, tmp_path):
    overrides = [*CONTROLLED, "method.finetune=true", "method.finetune_recipe.epochs=2", "method.trim=true"]
    assert train_apart(tmp_path / "killed", overrides, ("step", kill)) == -9
    for folder in ("killed", "whole"):
        train(tmp_path / folder, *overrides)
    assert state(tmp_path / "killed") == state(tmp_path / "whole")
    tables = [(tmp_path / folder / "topology.csv").read_text() for folder in ("killed", "whole")]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("mistake", ["method.link=tanh", "method.scope=channel"])
def test_unknown_ways_are_refused_before_training(mistake, tmp_path):
    with pytest.raises(ValueError, match="is not one of"):
        module(tmp_path, "method=str", mistake)
