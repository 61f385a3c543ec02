"""Training with a group-lasso penalty: it is in the loss, shrinks units, and masks them if asked to."""

import logging
import re

import pytest
import torch

from lth.experiment.build import Experiment
from lth.pruning.structured import units
from lth.storage.checkpoint import load_checkpoint
from lth.storage.folder import RunFolder
from lth.tickets import Ticket
from tests.report.test_cost import lightning_step
from tests.support.harness import configuration, train
from tests.support.left import curves, rows

STRONG = "recipe.lr=0.05", "recipe.epochs=8", "method.strength=0.3"
INPUTS = "method.terms.units.unit._target_=lth.pruning.structured.units.inputs"
EMERGES = "sparsity.density=null", "method.finetune=false"  # units are masked by their measure, or not at all
HIDDEN = "method.layers=[hidden.*]"


def built(folder, *overrides: str) -> Experiment:
    return Experiment(configuration(folder, *overrides), RunFolder(folder))


def weights(folder) -> dict[str, torch.Tensor]:
    state = load_checkpoint(folder / "level_00_search" / "last.ckpt")["state_dict"]
    return {k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")}


@pytest.mark.slow
@pytest.mark.parametrize("option", ["recipe.mixup=0.3", "recipe.label_smoothing=0.1", "recipe.accumulate=2", "seed=0"])
def test_the_gradient_of_the_first_step_holds_the_penalty_once(option, tmp_path):
    """Against a run without it, after one step of plain SGD: weights differ by -lr x the penalty's gradient."""
    plain = [option, "recipe.epochs=null", "recipe.steps=1", "recipe.weight_decay=0", "recipe.optimizer.momentum=0"]
    plain += ["recipe.optimizer.nesterov=false", "recipe.lr=0.5", "recipe/schedule=constant"]
    plain += [*EMERGES, INPUTS, "method.layers=['*']"]
    train(tmp_path / "with", "method=ssl", "method.strength=0.3", *plain)
    train(tmp_path / "without", "method=ssl", "method.strength=0", *plain)
    start = built(tmp_path, "method=ssl", *plain).initial
    left, right = weights(tmp_path / "with"), weights(tmp_path / "without")
    for name, weight in start.items():
        expected = torch.zeros_like(weight)
        if weight.dim() == 2:
            norms = torch.stack([column.norm() for column in weight.T])
            expected = -0.5 * 0.3 * weight / norms
        assert torch.allclose(left[name] - right[name], expected, atol=1e-5), name


@pytest.mark.slow
def test_units_shrink_under_a_strong_penalty_and_nothing_is_masked_without_density_and_threshold(tmp_path):
    train(tmp_path / "strong", "method=ssl", *STRONG, *EMERGES, HIDDEN)
    train(tmp_path / "none", "method=ssl", *STRONG, "method.strength=0", *EMERGES, HIDDEN)
    (row,) = rows(tmp_path / "strong")
    assert float(row["density"]) == 1.0
    norms = {run: weights(tmp_path / run)["hidden.0.weight"].norm(dim=1).mean() for run in ("strong", "none")}
    assert norms["strong"] < 0.3 * norms["none"]


@pytest.mark.slow
def test_weak_units_are_masked_whole_at_the_end_and_fine_tuning_keeps_them_out(tmp_path):
    train(tmp_path, "method=ssl", *STRONG, EMERGES[0], "method.mask_below=0.03", HIDDEN)
    found, tuned = rows(tmp_path)
    assert found["kept"] == tuned["kept"]
    assert 0 < float(found["density"]) < 1
    ticket = Ticket.load(tmp_path / "level_00_search" / "ticket.safetensors")
    raw = weights(tmp_path)
    for name in ("hidden.0.weight", "hidden.1.weight"):
        numbers = units.outputs(ticket.masks[name].shape)
        shares = [ticket.masks[name][numbers == part].float().mean() for part in range(units.count_units(numbers))]
        assert set(map(float, shares)) <= {0.0, 1.0}
        kept = ticket.masks[name].all(1)
        assert not raw[name][~kept].any()
        assert bool((raw[name][kept].abs().mean(1) >= 0.03).all())
    assert ticket.masks["classifier.weight"].all()
    after = load_checkpoint(tmp_path / "level_01_finetune" / "last.ckpt")
    assert all(not after["state_dict"][f"net.{n}"][~mask].any() for n, mask in ticket.masks.items())
    assert after["masks"]["hidden.0.weight"].equal(ticket.masks["hidden.0.weight"])


@pytest.mark.slow
def test_the_last_validation_and_the_row_are_those_of_the_masked_network(tmp_path):
    train(tmp_path, "method=ssl", *STRONG, *EMERGES, "method.mask_below=0.03", HIDDEN)
    (row,) = rows(tmp_path)
    last = curves(tmp_path)[-1]
    assert float(last["density"]) == float(row["density"]) < 1
    assert last["val_accuracy"] == row["val_accuracy"]
    experiment = built(tmp_path / "x", "method=ssl")
    experiment.net.load_state_dict(weights(tmp_path))
    experiment.net.eval()
    right = torch.cat([experiment.net(x).argmax(1) == y for x, y in experiment.data.val_dataloader()])
    assert float(row["val_accuracy"]) == pytest.approx(right.float().mean().item(), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ssl", "slimming"])
def test_a_density_is_reached_by_whole_units_and_every_layer_keeps_one(method, tmp_path):
    train(tmp_path, f"method={method}", "sparsity.density=0.3", "method.finetune_recipe.epochs=1")
    found, tuned = rows(tmp_path)
    ticket = Ticket.load(tmp_path / "level_00_search" / "ticket.safetensors")
    for name in ("hidden.0.weight", "hidden.1.weight"):
        kept = ticket.masks[name].any(1)
        assert kept.any()
        assert torch.equal(ticket.masks[name], kept[:, None].expand_as(ticket.masks[name]))
    assert ticket.masks["classifier.weight"].all()
    assert 0.3 <= float(found["density"]) < 0.33  # a unit of the first layer is 0.033 of the network
    assert found["kept"] == tuned["kept"]


@pytest.mark.slow
def test_slimming_shrinks_scales_and_masks_the_outputs_they_scale(tmp_path):
    train(tmp_path, "method=slimming", *EMERGES, *STRONG, "method.mask_below=0.2")
    ticket = Ticket.load(tmp_path / "level_00_search" / "ticket.safetensors")
    raw = weights(tmp_path)
    assert ticket.density < 1
    for i in (0, 1):
        weak = raw[f"norms.{i}.weight"].abs() < 0.2
        assert torch.equal(ticket.masks[f"hidden.{i}.weight"].any(1), ~weak)
        assert not raw[f"norms.{i}.weight"][weak].any()
        assert not raw[f"norms.{i}.bias"][weak].any()


@pytest.mark.slow
def test_the_penalty_is_in_the_curves_and_in_the_training_loss(tmp_path):
    last_only = [*EMERGES, "recipe.epochs=2", "recipe.lr=1e-9", "dataset.val_size=0"]
    train(tmp_path, "method=ssl", "method.strength=0.01", *last_only)
    first, last = curves(tmp_path)
    assert float(first["penalty"]) == pytest.approx(float(last["penalty"]), rel=1e-4) != 0
    train(tmp_path / "none", "method=ssl", "method.strength=0", *last_only)
    difference = float(last["train_loss"]) - float(curves(tmp_path / "none")[-1]["train_loss"])
    assert difference == pytest.approx(float(last["penalty"]), rel=1e-3)


@pytest.mark.slow
def test_averaged_weights_are_masked_too(tmp_path):
    train(tmp_path, "method=ssl", *STRONG, *EMERGES, "method.mask_below=0.03", "recipe.ema=0.5", HIDDEN)
    checkpoint = load_checkpoint(tmp_path / "level_00_search" / "last.ckpt")
    average = dict(zip(weights(tmp_path), checkpoint["callbacks"]["EMA"]["average"], strict=True))
    mask = checkpoint["masks"]["hidden.0.weight"]
    assert not mask.all()
    assert not average["hidden.0.weight"][~mask].any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method.mask_below=0"], "mask_below=0 must be over 0"),
        (["method.mask_below=0.1"], "mask_below=0.1 and sparsity.density=0.1 both say what is masked"),
        (["method.layers=[hidden.1]"], "cannot be reached; penalise more layers or raise sparsity.density to 0.8"),
        (["method.measure=sum"], "measure 'sum' is not one of"),
        (["method.layers=[hidden.7]"], "'hidden.7' matches nothing"),
        (["method.layers=[hidden.0,hidden.*]"], "penalised twice"),
        (
            ["method.terms.units.unit._target_=lth.pruning.structured.units.filters"],
            "filters are parts of a convolution",
        ),
        (["method.layers=['*']", "prunable=no_head"], "classifier.weight is not prunable here"),
    ],
)
def test_mistakes_are_refused_before_training(overrides, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        built(tmp_path, "method=ssl", *overrides)


@pytest.mark.slow
def test_several_terms_stand_side_by_side(tmp_path):
    whole = (
        "{_target_:lth.pruning.structured.group_lasso.group_lasso,_partial_:true,layers:[hidden.1],strength:0.5,unit:"
    )
    whole += "{_target_:lth.pruning.structured.units.layer,_partial_:true}}"
    experiment = built(tmp_path, "method=ssl", "method.strength=0", *EMERGES, f"+method.terms.whole={whole}")
    module, _ = experiment.build_level(experiment.levels[0])
    norm = dict(experiment.net.named_parameters())["hidden.1.weight"].norm().item()
    assert module.penalty().item() == pytest.approx(0.5 * norm, rel=1e-4)


@pytest.mark.slow
def test_a_threshold_that_empties_layers_or_masks_nothing_says_so(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        train(tmp_path / "all", "method=ssl", *EMERGES, "method.mask_below=100", "recipe.epochs=1")
        assert "emptied whole layers" in caplog.text
        train(tmp_path / "none", "method=ssl", *EMERGES, "method.mask_below=1e-9", "recipe.epochs=1")
    assert "masks nothing" in caplog.text


@pytest.mark.slow
def test_no_step_waits_for_the_device(tmp_path):
    assert not lightning_step(tmp_path, "method=ssl")["aten._local_scalar_dense.default"]
