"""A schedule within a level: rules fire in time, their masks hold and resume, and whole units are removed."""

import csv

import pytest
import pytorch_lightning as pl
import torch

from lth.analysis.layers import uses_per_image
from lth.experiment.build import Experiment
from lth.pruning.structured.thin import thin
from lth.storage.folder import RunFolder
from lth.tickets import Ticket
from tests.support.harness import configuration, train, train_apart
from tests.support.left import rows, state
from tests.support.moving import run_level

CONV = ["model=resnet20", "dataset.image_size=8", "dataset.channels=3", "recipe.lr=0.05"]
SCHEDULED = ["method=scheduled", "recipe.epochs=6"]


def multiply_adds(net):
    named = dict(net.named_parameters())
    return sum(named[name].numel() * times for name, times in uses_per_image(net, (3, 8, 8)).items())


def rule(name="some", **options):
    return f"+method.rules.{name}={options}".replace("'", "").replace("True", "true").replace("None", "null")


class Watch(pl.Callback):
    """Records the kept weights of every epoch; asserts that removed weights and their optimizer state are zero."""

    def __init__(self):
        self.kept, self.epochs = [], []

    def on_train_batch_end(self, trainer, pl_module, *_):
        named = dict(pl_module.net.named_parameters())
        masks = {**pl_module.masks, **(pl_module.attached.masks if pl_module.attached else {})}
        for name, mask in masks.items():
            gone = mask == 0
            assert not named[name][gone].any(), name
            state = trainer.optimizers[0].state[named[name]].values()
            assert not any(v[gone].any() for v in state if torch.is_tensor(v) and v.shape == mask.shape), name

    def on_train_epoch_end(self, trainer, pl_module):
        self.kept.append(pl_module.masks.kept)


@pytest.mark.slow
def test_a_window_fires_at_epoch_starts_and_masks_hold_in_idle_epochs(tmp_path):
    watch = Watch()
    run_level(tmp_path, *SCHEDULED, rule(names="[hidden.0]", end=0.25, begin=1, stop=4, every=2), watch=(watch,))
    total, size = 1984, 64 * 24
    assert watch.kept == [total, total, total, *[total - int(0.75 * size)] * 3]


@pytest.mark.slow
def test_rules_fire_in_their_order_and_write_down_what_they_did(tmp_path):
    rules = [
        rule("a", names="[hidden.0]", unit="outputs", end=0.5, at=[0, 2]),
        rule("b", names="[@head]", end=0.5, at=[1]),
    ]
    train(tmp_path, *SCHEDULED, *rules)
    with (tmp_path / "events.csv").open(newline="") as file:
        events = list(csv.DictReader(file))
    assert [(e["epoch"], e["event"]) for e in events] == [("0", "a"), ("1", "b"), ("2", "a")]
    assert [e["units_removed"] for e in events] == ["0", "32", "12"]
    (row,) = rows(tmp_path)
    assert float(row["density"]) == int(row["kept"]) / 1984  # the true one: readers lose their inputs too
    assert int(row["kept"]) == 12 * 64 + 12 * 16 + 32


@pytest.mark.slow
def test_removed_filters_take_their_batch_norm_along_and_thinning_changes_nothing(tmp_path):
    watch = Watch()
    options = ["method=filters", "sparsity.density=0.5", *CONV, "recipe.epochs=3", "recipe.ema=0.5"]
    built = run_level(tmp_path, *options, watch=(watch,))
    small = thin(built.net, built.masks, (3, 8, 8))
    assert small.difference <= 1e-5
    assert sum(mask.numel() for mask in small.masks.values()) == built.masks.kept
    assert multiply_adds(small.net) < 0.3 * multiply_adds(built.net)
    assert int((built.net.layer1[0].bn1.weight == 0).sum()) == 8
    (ema,) = (callback for callback in built.module.trainer.callbacks if type(callback).__name__ == "EMA")
    named = dict(zip(dict(built.net.named_parameters()), ema.average, strict=True))
    assert all(not named[name][mask == 0].any() for name, mask in built.masks.items())
    assert int((named["layer1.0.bn1.weight"] == 0).sum()) == 8


@pytest.mark.slow
def test_whole_units_can_be_turned_off_and_other_methods_have_none(tmp_path):
    options = ["method=filters", "sparsity.density=0.5", *CONV, "recipe.epochs=3", "method.whole_units=false"]
    built = run_level(tmp_path, *options)
    assert built.module.attached is None
    assert (built.net.layer1[0].bn1.weight != 0).all()
    plain = run_level(tmp_path / "imp", "method=imp", "recipe.epochs=1")
    assert plain.module.attached is None
    assert len(plain.module._weights) == len(plain.masks)


@pytest.mark.slow
def test_masking_whole_units_adds_no_multiplication_to_a_step(tmp_path):
    calls = {}
    for active in ("true", "false"):
        built = run_level(tmp_path / active, "method=filters", "sparsity.density=0.5", *CONV, "recipe.epochs=1",
                          f"method.whole_units={active}")  # fmt: skip
        module = built.module
        for parameter in module.net.parameters():
            parameter.grad = torch.zeros_like(parameter)
        with torch.profiler.profile() as profile:
            module.on_before_optimizer_step(None)
        calls[active] = sum(event.count for event in profile.key_averages() if event.key == "aten::_foreach_mul_")
    assert calls == {"true": 1, "false": 1}


@pytest.mark.slow
def test_surgery_lets_weights_return_and_ends_hard(tmp_path):
    class Returned(pl.Callback):
        before, back = None, 0

        def on_train_batch_end(self, trainer, pl_module, *_):
            now = pl_module.masks.bools()
            if self.before is not None:
                self.back += sum(int((now[n] & ~b).sum()) for n, b in self.before.items())
            self.before = now

    watch = Returned()
    options = ["method=surgery", "recipe.epochs=6", "recipe.lr=0.3", "method.low=1.0", "method.high=1.0"]
    built = run_level(tmp_path, *options, "method.rules.all.exclude=[]", watch=(watch,))
    assert watch.back > 0
    dense = [w.detach().clone() for w in built.masks.weights(built.net)]
    assert all((w != 0).all() for w in dense)  # masked weights are kept, and train
    built.module.finalize_()
    for weight, before, mask in zip(built.masks.weights(built.net), dense, built.masks.values(), strict=True):
        assert torch.equal(weight.detach(), before * mask)
    assert 0 < built.masks.density < 1


def test_surgerys_gradient_reaches_masked_weights():
    from lth.modules.spliced_weights import _masked

    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    out = _masked(weight, torch.tensor([1.0, 0.0]))
    assert out.tolist() == [1.0, 0.0]
    (out * torch.tensor([3.0, 5.0])).sum().backward()
    assert weight.grad.tolist() == [3.0, 5.0]


@pytest.mark.slow
def test_splicing_needs_a_module_that_keeps_dense_weights(tmp_path):
    pruner = "{_target_: lth.pruning.structured.thresholds.Splicing, c: 0.1}"
    with pytest.raises(ValueError, match=r"SplicedWeights \(method=surgery\)"):
        run_level(tmp_path, *SCHEDULED, f"+method.rules.a={{names: ['*'], pruner: {pruner}, at: [0]}}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "pruner", ["Sensitivity, sensitivity: 0.5", "BaiduRNN, q: 0.05, ramp: 3", "Threshold, threshold: 0.02"]
)
def test_threshold_pruners_resume_with_what_they_measured(pruner, tmp_path):
    pruner = f"{{_target_: lth.pruning.structured.thresholds.{pruner}}}"
    rules = [f"+method.rules.a={{names: ['*'], begin: 0, stop: 6, every: 1, pruner: {pruner}}}"]
    train(tmp_path / "whole", *SCHEDULED, *rules)
    assert 0 < float(rows(tmp_path / "whole")[0]["density"]) < 1
    assert train_apart(tmp_path / "killed", [*SCHEDULED, *rules], ("step", 14)) == -9
    train(tmp_path / "killed", *SCHEDULED, *rules)
    assert state(tmp_path / "killed") == state(tmp_path / "whole")
    assert (tmp_path / "killed" / "events.csv").read_text() == (tmp_path / "whole" / "events.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("rules", "message"), [
    ([rule(names="[nothing]", end=0.5, at=[0])], "method.rules.some: pattern 'nothing' matches no prunable weight"),
    ([rule(names="[hidden.0]", end=0.5, at=[9])], "method.rules.some: the firing in epoch 9 comes after"),
    ([rule(names="[hidden.0]", end=0.5, at=[0], stop=3)], "method.rules.some: give a window"),
    ([rule(names="[hidden.0]", unit="filters", end=0.5, at=[0])], "filters are parts of a convolution"),
    ([rule(name, names="[hidden.0]", end=0.5, at=[0]) for name in "ab"], "a and b both prune"),
    ([rule(names="[hidden.0, hidden.0]", end=0.5, at=[0])], "names something twice"),
])  # fmt: skip
def test_mistakes_are_told_before_training(rules, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        Experiment(configuration(tmp_path / "run", *SCHEDULED, *rules), RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_without_a_rule_every_layer_goes_to_a_tenth(tmp_path):
    built = Experiment(configuration(tmp_path / "run", *SCHEDULED), RunFolder(tmp_path / "run"))
    (scheduled,) = (c for c in built.build_level(built.levels[0])[1] if hasattr(c, "firings"))
    assert {name: rule.selection.names for name, rule in scheduled.rules.items()} == {"every layer": ["*"]}
    train(tmp_path / "run", *SCHEDULED)
    assert float(rows(tmp_path / "run")[0]["density"]) == pytest.approx(0.1, abs=0.01)


@pytest.mark.slow
def test_partly_named_sets_are_an_error_before_training(tmp_path):
    rules = [rule(names="[layer1.0.conv2]", unit="filters", end=0.5, at=[0])]
    with pytest.raises(ValueError, match="share their outputs with"):
        Experiment(configuration(tmp_path / "run", *SCHEDULED, *CONV, *rules), RunFolder(tmp_path / "run"))


@pytest.mark.slow
def test_a_dense_level_may_come_first_and_the_masks_make_a_lottery_ticket(tmp_path):
    options = ["method=filters", "sparsity.density=0.5", "method.dense=true", "recipe.epochs=2"]
    train(tmp_path / "run", *options)
    assert [row["stage"] for row in rows(tmp_path / "run")] == ["dense", "prune"]
    first, last = (Ticket.load(path) for path in sorted((tmp_path / "run").glob("level_*/ticket.safetensors")))
    ticket = Ticket(last.masks, first.weights, last.header)
    ticket.save(tmp_path / "ticket")
    for whole in ("true", "false"):
        retrain = ["method=retrain", f"ticket={tmp_path / 'ticket'}", f"method.whole_units={whole}", "recipe.epochs=2"]
        train(tmp_path / whole, *retrain)
        (row,) = rows(tmp_path / whole)
        assert int(row["kept"]) == last.kept
