"""Drop and grow within a level: what moves, what stays bit for bit, and that growth sees the true dense gradient."""

from math import cos, pi

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from tests.support.moving import CONV, DOUBLE, MLP, OPTIMIZERS, RIGL, TWENTY, PlainGradients, expected, moves, run_level

pytestmark = pytest.mark.slow

GROWTHS = {
    "random": ["method/grow=random"],
    "gradient": [],
    "momentum": ["method/memory=momentum"],
}


def counts(masks: dict[str, Tensor]) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


@pytest.mark.parametrize("model", [MLP, pytest.param(CONV, marks=pytest.mark.engine)], ids=["mlp", "conv"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("growth", GROWTHS)
def test_twenty_updates_conserve_counts_and_touch_only_what_moves(growth, optimizer, model, tmp_path, monkeypatch):
    changes = moves(monkeypatch)
    run_level(tmp_path, *model, *RIGL, *TWENTY, *GROWTHS[growth], *OPTIMIZERS[optimizer])
    assert [change.step for change in changes] == list(range(1, 21))
    moments = {"sgd": {"momentum_buffer"}, "adamw": {"exp_avg", "exp_avg_sq"}}[optimizer]
    for change in changes:
        assert counts(change.after.masks) == counts(change.before.masks) == counts(changes[0].before.masks)
        assert {key.rsplit(".", 1)[1] for key in change.after.state} == moments
        for name, was in change.before.masks.items():
            now = change.after.masks[name]
            assert (now & ~was).any() or was.all() or change.step > 15
            named = [(change.before.weights[name], change.after.weights[name])]
            named += [(change.before.state[key], v) for key, v in change.after.state.items() if key.startswith(name)]
            for old, new in named:
                assert torch.equal(old[was & now], new[was & now])  # survivors and those that came back at once
                assert not new[~(was & now)].any()  # dropped, new and never kept ones


@pytest.mark.parametrize("model", [MLP, CONV], ids=["mlp", "conv"])
def test_growth_is_where_the_gradient_of_weight_times_mask_is_largest(model, tmp_path, monkeypatch):
    changes, plain = moves(monkeypatch), PlainGradients()
    run_level(tmp_path, *model, *RIGL, *TWENTY, *DOUBLE, watch=(plain,))
    assert len(changes) == 20
    for change in changes:
        masks = expected(change, plain.by_step[change.step], 0.15 * (1 + cos(pi * change.step / 21)))
        assert all(torch.equal(masks[name], mask) for name, mask in change.after.masks.items()), change.step


def test_growth_by_momentum_is_where_the_average_of_dense_gradients_is_largest(tmp_path, monkeypatch):
    changes, plain = moves(monkeypatch), PlainGradients()
    run_level(tmp_path, *MLP, *RIGL, *TWENTY, *DOUBLE, "method/memory=momentum", "method.every=3", watch=(plain,))
    average: dict[str, Tensor] = {}
    by_step = {}
    for step, gradients in plain.by_step.items():
        average = {name: 0.9 * average.get(name, 0) + 0.1 * g for name, g in gradients.items()}
        by_step[step] = average
    assert [change.step for change in changes] == [3, 6, 9, 12, 15, 18]
    for change in changes:
        masks = expected(change, by_step[change.step], 0.15 * (1 + cos(pi * change.step / 21)))
        assert all(torch.equal(masks[name], mask) for name, mask in change.after.masks.items()), change.step


def test_growth_sees_the_whole_accumulated_batch(tmp_path, monkeypatch):
    changes, plain = moves(monkeypatch), PlainGradients()
    accumulated = ["recipe.accumulate=2", "recipe.steps=8", "method.every=2", "method.stop=7"]
    run_level(tmp_path, *RIGL, *TWENTY, *DOUBLE, *accumulated, watch=(plain,))
    assert [change.step for change in changes] == [2, 4, 6]
    for change in changes:
        for name, gradient in plain.by_step[change.step].items():
            assert torch.allclose(change.gradients[name], gradient, rtol=1e-9, atol=1e-12)
        masks = expected(change, plain.by_step[change.step], 0.15 * (1 + cos(pi * change.step / 7)))
        assert all(torch.equal(masks[name], mask) for name, mask in change.after.masks.items())


def test_nearly_all_pruned_weights_have_a_gradient_and_are_zero_after_the_step(tmp_path, monkeypatch):
    changes = moves(monkeypatch)
    run_level(tmp_path, *MLP, *RIGL, *TWENTY, "dataset.noise=1")
    for change in changes[:3]:
        seen = torch.cat([change.gradients[name][~mask] for name, mask in change.before.masks.items()])
        assert float((seen != 0).float().mean()) >= 0.9
        for name, mask in change.before.masks.items():
            assert not change.before.weights[name][~mask].any()
            assert not change.before.state[f"{name}.momentum_buffer"][~mask].any()


class MaskGradients(pl.Callback):
    """Masks the gradients before growth reads them, as a mask in the forward pass would."""

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        for weight, mask in zip(pl_module.masks.weights(pl_module.net), pl_module.masks.values(), strict=True):
            weight.grad.mul_(mask)


def test_gradients_masked_before_growth_are_noticed(tmp_path):
    with pytest.raises(AssertionError, match="gradients are zero at all pruned weights"):
        run_level(tmp_path, *RIGL, *TWENTY, watch=(MaskGradients(),))


def test_updates_begin_and_stop_where_they_are_told_to(tmp_path, monkeypatch):
    changes = moves(monkeypatch)
    told = ["recipe.epochs=4", "method.every=2", "method.begin=1ep", "method.stop=75%"]
    run_level(tmp_path, *RIGL, *told)  # sixteen steps
    assert [change.step for change in changes] == [4, 6, 8, 10]


def test_a_schedule_of_the_fraction_that_ends_before_it_begins_is_refused(tmp_path):
    with pytest.raises(ValueError, match="fraction_end=0 must be one optimizer step or more"):
        run_level(tmp_path, *MLP, *RIGL, "method.fraction_end=0")


def test_the_drop_fraction_follows_its_own_end_when_it_has_one(tmp_path, monkeypatch):
    changes = moves(monkeypatch)
    run_level(tmp_path, *MLP, *RIGL, *TWENTY, *DOUBLE, "method.fraction_end=24", "method.every=3")
    for change in changes:
        masks = expected(change, change.gradients, 0.15 * (1 + cos(pi * change.step / 24)))
        assert all(torch.equal(masks[name], mask) for name, mask in change.after.masks.items())


def test_a_layer_kept_whole_is_never_touched(tmp_path, monkeypatch):
    changes = moves(monkeypatch)
    built = run_level(tmp_path, *RIGL, *TWENTY)  # at this density Erdos-Renyi-kernel keeps the classifier whole
    whole = [name for name, mask in changes[0].before.masks.items() if mask.all()]
    assert 0 < len(whole) < len(built.masks)
    for change in changes:
        assert all(change.after.masks[name].all() for name in whole)
        assert all(torch.equal(change.before.weights[name], change.after.weights[name]) for name in whole)


SUPPORT = ["support=balanced", "support.density=0.5", "sparsity.density=0.2"]


@pytest.mark.parametrize("growth", GROWTHS)
def test_growth_stays_in_a_support_only_when_constrained_to_it(growth, tmp_path):
    outside = {}
    for constrain in (True, False):
        built = run_level(
            tmp_path / str(constrain), *RIGL, *TWENTY, *SUPPORT, *GROWTHS[growth], f"method.constrain={constrain}"
        )
        assert built.support.kept > built.masks.kept
        outside[constrain] = sum(int((built.masks[n] > built.support[n]).sum()) for n in built.masks)
    assert outside[True] == 0
    assert outside[False] > 0


def test_global_scope_keeps_the_total_and_moves_weights_between_layers(tmp_path, monkeypatch):
    changes = moves(monkeypatch)
    run_level(tmp_path, *MLP, *RIGL, *TWENTY, "method.scope=global")
    totals = {sum(counts(change.after.masks).values()) for change in changes}
    assert totals == {sum(counts(changes[0].before.masks).values())}
    assert len({tuple(counts(change.after.masks).values()) for change in changes}) > 1


@pytest.mark.parametrize("start", ["gradient", "gradient_sign", "normal", "uniform"])
def test_new_weights_start_from_what_is_asked_and_their_optimizer_state_from_zero(start, tmp_path, monkeypatch):
    changes = moves(monkeypatch)
    run_level(tmp_path, *MLP, *RIGL, *TWENTY, f"method/new_weights={start}", "method.new_weights.divisor=10")
    for change in changes:
        for name, was in change.before.masks.items():
            now = change.after.masks[name]
            new, gradient = change.after.weights[name][now & ~was], change.gradients[name][now & ~was]
            if start.startswith("gradient"):
                assert torch.equal(new, (gradient.sign() if start.endswith("sign") else gradient) / 10)
            else:
                assert new.all()
                assert new.abs().max() < change.before.weights[name].abs().max() if len(new) else True
            assert not change.after.state[f"{name}.momentum_buffer"][now & ~was].any()


def test_the_average_of_the_weights_is_zero_wherever_weights_were_dropped(tmp_path):
    class Watch(pl.Callback):
        steps = 0

        def on_train_batch_end(self, trainer, pl_module, *_):
            averages = next(callback for callback in trainer.callbacks if type(callback).__name__ == "EMA").average
            places = {id(p): a for p, a in zip(pl_module.net.parameters(), averages, strict=True)}
            for weight, mask in zip(pl_module.masks.weights(pl_module.net), pl_module.masks.values(), strict=True):
                assert not places[id(weight)][mask == 0].any()
                assert places[id(weight)].any()
            self.steps += 1

    watch = Watch()
    run_level(tmp_path, *RIGL, *TWENTY, "recipe.ema=0.9", last=(watch,))
    assert watch.steps == 24


def test_which_weights_were_ever_active_is_known_and_only_grows(tmp_path, monkeypatch):
    changes = moves(monkeypatch)
    built = run_level(tmp_path, *MLP, *RIGL, *TWENTY, "method/grow=random_unfired", "method/fraction=constant")
    ever = built.callbacks["Regrow"].ever
    seen = {n: torch.stack([changes[0].before.masks[n], *(c.after.masks[n] for c in changes)]).any(0) for n in ever}
    assert all(torch.equal(ever[name], mask) for name, mask in seen.items())


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (["method.order=before_step"], "order 'before_step' is not one of"),
        (["method.every=8", "method.stop=8"], "no update every 8 steps falls between steps 0 and 8"),
        (["method.every=2", "method.scope=channel"], "scope 'channel' is not one of"),
        (["method.every=2", "method.drop.rounding=half"], "rounding='half' is not one of"),
    ],
)
def test_mistakes_are_refused_before_training(mistake, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run_level(tmp_path, *RIGL, *mistake, watch=(Untouched(),))


class Untouched(pl.Callback):
    """Fails when a step is trained."""

    def on_train_batch_start(self, *_):
        raise AssertionError("training began")
