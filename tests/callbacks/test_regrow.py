"""Drop and grow within a level: what moves, what stays bit for bit, and that growth sees the true dense gradient."""

from math import cos, floor, pi

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from tests.support.moving import CONV, MLP, Change, PlainGradients, moves, run_level

pytestmark = pytest.mark.slow

RIGL = ["method=rigl", "method.order=after_step", "sparsity.density=0.3"]
TWENTY = ["recipe.epochs=null", "recipe.steps=24", "method.every=1", "method.stop=21"]
GROWTHS = {
    "random": ["method/grow=random"],
    "gradient": [],
    "momentum": ["method/memory=momentum"],
}
OPTIMIZERS = {"sgd": [], "adamw": ["recipe/optimizer=adamw", "recipe.lr=0.01"]}
DOUBLE = ["recipe.precision=64-true"]  # so that sums taken in another order pick the same weights


def counts(masks: dict[str, Tensor]) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


def best(score: Tensor, where: Tensor, count: int) -> Tensor:
    """The `count` largest scores among `where`, ties by index: by a plain stable sort."""
    order = torch.sort(score.masked_fill(~where, -torch.inf).flatten(), descending=True, stable=True).indices
    chosen = torch.zeros(score.numel(), dtype=torch.bool)
    chosen[order[:count]] = True
    return chosen.view(score.shape)


def expected(change: Change, scores: dict[str, Tensor], fraction: float) -> dict[str, Tensor]:
    """The masks that an update should make: magnitude drop of floor(fraction * kept) in each layer, growth by score."""
    masks = {}
    for name, kept in change.before.masks.items():
        moved = floor(fraction * int(kept.sum()) + 1e-9) if not kept.all() else 0
        stay = best(change.before.weights[name].abs(), kept, int(kept.sum()) - moved)
        masks[name] = stay | best(scores[name].abs(), ~stay, moved)
    return masks


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("model", [MLP, CONV], ids=["mlp", "conv"])
def test_growth_is_where_the_gradient_of_weight_times_mask_is_largest(model, tmp_path, monkeypatch):
    changes, plain = moves(monkeypatch), PlainGradients()
    run_level(tmp_path, *model, *RIGL, *TWENTY, *DOUBLE, watch=(plain,))
    assert len(changes) == 20
    for change in changes:
        masks = expected(change, plain.by_step[change.step], 0.15 * (1 + cos(pi * change.step / 21)))
        assert all(torch.equal(masks[name], mask) for name, mask in change.after.masks.items()), change.step


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    """What a mask in the forward pass would do to gradients, before growth sees them."""

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        for weight, mask in zip(pl_module.masks.weights(pl_module.net), pl_module.masks.values(), strict=True):
            weight.grad.mul_(mask)


@pytest.mark.slow
def test_gradients_masked_before_growth_are_noticed(tmp_path):
    with pytest.raises(AssertionError, match="gradients are zero at all pruned weights"):
        run_level(tmp_path, *RIGL, *TWENTY, watch=(MaskGradients(),))


class Weights(pl.Callback):
    """All parameters after every optimizer step, before updates, and the optimizer's state with them."""

    def __init__(self):
        self.after: dict[int, list[Tensor]] = {}

    def on_train_start(self, trainer, pl_module):
        self.on_train_batch_end(trainer, pl_module)

    def on_train_batch_end(self, trainer, pl_module, *_):
        state = [v for s in trainer.optimizers[0].state.values() for v in s.values() if torch.is_tensor(v)]
        self.after[trainer.global_step] = [t.detach().clone() for t in (*pl_module.parameters(), *state)]


@pytest.mark.slow
@pytest.mark.parametrize("clip", [[], ["recipe.clip=0.5"]], ids=["", "clipped"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("order", ["replace_step", "after_step"])
def test_the_optimizer_steps_on_an_update_only_in_the_order_that_says_so(order, optimizer, clip, tmp_path, monkeypatch):
    changes, watch = moves(monkeypatch), Weights()
    how = [f"method.order={order}", "method.every=4", "method/fraction=constant", *OPTIMIZERS[optimizer], *clip]
    run_level(tmp_path, *RIGL, *TWENTY, *how, watch=(watch,))
    assert [change.step for change in changes] == [4, 8, 12, 16, 20]
    for change in changes:
        same = [torch.equal(a, b) for a, b in zip(watch.after[change.step - 1], watch.after[change.step], strict=True)]
        assert all(same) if order == "replace_step" else not any(same)
        assert not all(torch.equal(change.before.masks[n], m) for n, m in change.after.masks.items())


@pytest.mark.slow
def test_a_replaced_step_still_grows_by_that_batchs_gradient(tmp_path, monkeypatch):
    changes, plain = moves(monkeypatch), PlainGradients()
    run_level(tmp_path, *RIGL, *TWENTY, *DOUBLE, "method.order=replace_step", "method.every=4", watch=(plain,))
    for change in changes:
        masks = expected(change, plain.by_step[change.step], 0.15 * (1 + cos(pi * change.step / 21)))
        assert all(torch.equal(masks[name], mask) for name, mask in change.after.masks.items())


class Inject(pl.Callback):
    """Puts one inf into the gradients of one step."""

    def __init__(self, step: int):
        self.step = step

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step + 1 == self.step:
            next(iter(pl_module.net.parameters())).grad.view(-1)[0] = torch.inf


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["last", "mean_of_last", "momentum"])
def test_an_inf_in_the_gradient_skips_its_update_and_no_other(memory, tmp_path, monkeypatch):
    """The step is replaced at updates, so that the inf reaches no weight, as when a loss scaler leaves the step out."""
    changes = moves(monkeypatch)
    replaced = ["method.order=replace_step", "method.every=4", "method/fraction=constant", f"method/memory={memory}"]
    run_level(tmp_path, *RIGL, *TWENTY, *replaced, watch=(Inject(8),))
    skipped = [
        all(torch.equal(change.before.masks[n], mask) for n, mask in change.after.masks.items()) for change in changes
    ]
    assert [change.step for change in changes] == [4, 8, 12, 16, 20]
    assert skipped == [False, True, False, False, False]


@pytest.mark.slow
def test_updates_begin_and_stop_where_they_are_told_to(tmp_path, monkeypatch):
    changes = moves(monkeypatch)
    told = ["recipe.epochs=4", "method.every=2", "method.begin=1ep", "method.stop=75%"]
    run_level(tmp_path, *RIGL, *told)  # sixteen steps
    assert [change.step for change in changes] == [4, 6, 8, 10]


@pytest.mark.slow
def test_the_drop_fraction_follows_its_own_end_when_it_has_one(tmp_path, monkeypatch):
    changes = moves(monkeypatch)
    run_level(tmp_path, *MLP, *RIGL, *TWENTY, *DOUBLE, "method.fraction_end=24", "method.every=3")
    for change in changes:
        masks = expected(change, change.gradients, 0.15 * (1 + cos(pi * change.step / 24)))
        assert all(torch.equal(masks[name], mask) for name, mask in change.after.masks.items())


@pytest.mark.slow
def test_a_layer_kept_whole_is_never_touched(tmp_path, monkeypatch):
    changes = moves(monkeypatch)
    built = run_level(tmp_path, *RIGL, *TWENTY)  # at this density Erdos-Renyi-kernel keeps the classifier whole
    whole = [name for name, mask in changes[0].before.masks.items() if mask.all()]
    assert 0 < len(whole) < len(built.masks)
    for change in changes:
        assert all(change.after.masks[name].all() for name in whole)
        assert all(torch.equal(change.before.weights[name], change.after.weights[name]) for name in whole)


SUPPORT = ["support=balanced", "support.density=0.5", "sparsity.density=0.2"]


@pytest.mark.slow
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


@pytest.mark.slow
def test_global_scope_keeps_the_total_and_moves_weights_between_layers(tmp_path, monkeypatch):
    changes = moves(monkeypatch)
    run_level(tmp_path, *MLP, *RIGL, *TWENTY, "method.scope=global")
    totals = {sum(counts(change.after.masks).values()) for change in changes}
    assert totals == {sum(counts(changes[0].before.masks).values())}
    assert len({tuple(counts(change.after.masks).values()) for change in changes}) > 1


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_which_weights_were_ever_active_is_known_and_only_grows(tmp_path, monkeypatch):
    changes = moves(monkeypatch)
    built = run_level(tmp_path, *MLP, *RIGL, *TWENTY, "method/grow=random_unfired", "method/fraction=constant")
    ever = built.callbacks["Regrow"].ever
    seen = {n: torch.stack([changes[0].before.masks[n], *(c.after.masks[n] for c in changes)]).any(0) for n in ever}
    assert all(torch.equal(ever[name], mask) for name, mask in seen.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (["method.order=before_step"], "order 'before_step' is not one of"),
        (["method.every=8", "method.stop=8"], "no update every 8 steps falls between steps 0 and 8"),
        (["method.every=2", "method.scope=channel"], "scope 'channel' is not one of"),
        (["method.every=2", "method.drop.rounding=half"], "rounding 'half' is not one of"),
    ],
)
def test_mistakes_are_refused_before_training(mistake, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run_level(tmp_path, *RIGL, *mistake, watch=(Untouched(),))


class Untouched(pl.Callback):
    """Fails when a step is trained."""

    def on_train_batch_start(self, *_):
        raise AssertionError("training began")
