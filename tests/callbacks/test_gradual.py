"""Gradual pruning within a level: exact counts along the path and at its end, nested masks, no layer emptied."""

from itertools import pairwise

import pytest
import pytorch_lightning as pl
import torch

from lth.pruning.allocation import count_kept
from tests.support.moving import moves, prunings, run_level

pytestmark = pytest.mark.slow

SHORT = ["recipe.epochs=null", "recipe.steps=24", "method.every=2"]
FAR = ["sparsity.density=0.1", "method.prune_end=20"]


def path(number: int, last: int, start: float, end: float) -> float:
    """The cubic density after pruning `number` of `last`."""
    return end + (start - end) * (1 - number / last) ** 3


@pytest.mark.parametrize("method", ["gmp", "agp", "granet", "granet_uniform"])
@pytest.mark.parametrize("density", [0.31, 0.05])
def test_the_final_count_is_exact(method, density, tmp_path):
    built = run_level(tmp_path, f"method={method}", *SHORT, f"sparsity.density={density}")
    assert built.masks.kept == round(density * built.masks.total)


def test_the_count_follows_the_path_exactly_and_masks_are_nested(tmp_path, monkeypatch):
    changes = prunings(monkeypatch)
    built = run_level(tmp_path, "method=gmp", *SHORT, *FAR)
    assert [change.step for change in changes] == list(range(2, 21, 2))
    for number, change in enumerate(changes, 1):
        kept = sum(int(mask.sum()) for mask in change.after.masks.values())
        assert kept == int(path(number, 10, 1.0, 0.1) * built.masks.total + 0.5)
        for name, was in change.before.masks.items():
            assert (change.after.masks[name] <= was).all()
            assert not change.after.weights[name][~change.after.masks[name]].any()
            assert not change.after.state[f"{name}.momentum_buffer"][~change.after.masks[name]].any()
    between = pairwise(changes)
    assert all(torch.equal(a.after.masks[n], b.before.masks[n]) for a, b in between for n in a.after.masks)


def test_the_smallest_weights_of_all_layers_go(tmp_path, monkeypatch):
    changes = prunings(monkeypatch)
    run_level(tmp_path, "method=gmp", *SHORT, *FAR)
    change = changes[0]
    left = torch.cat([change.before.weights[n][mask].abs() for n, mask in change.after.masks.items()])
    gone = torch.cat([change.before.weights[n][was & ~change.after.masks[n]].abs()
                      for n, was in change.before.masks.items()])  # fmt: skip
    assert len(gone)
    assert gone.max() <= left.min()


def test_layer_by_layer_every_layer_has_the_same_density(tmp_path):
    built = run_level(tmp_path, "method=agp", *SHORT, *FAR)
    assert all(abs(float(mask.mean()) - 0.1) <= 1 / mask.numel() for mask in built.masks.values())


def test_granet_prunes_along_the_path_and_regrows_as_many_as_it_drops(tmp_path, monkeypatch):
    pruned, moved = prunings(monkeypatch), moves(monkeypatch)
    options = ["method.initial_density=0.5", "sparsity.density=0.1", "method.prune_end=16", "method.fraction.end=0.5"]
    built = run_level(tmp_path, "method=granet", *SHORT, *options)
    total = built.masks.total
    assert [change.step for change in pruned] == list(range(2, 17, 2))
    assert [change.step for change in moved] == list(range(2, 23, 2))
    start = round(0.5 * total) / total
    for number, (first, then) in enumerate(zip(pruned, moved, strict=False), 1):
        expected = {n: int(m.sum()) for n, m in first.after.masks.items()}
        assert sum(expected.values()) == int(path(number, 8, start, 0.1) * total + 0.5)
        assert expected == {n: int(m.sum()) for n, m in then.after.masks.items()}
        assert all(torch.equal(first.after.masks[n], m) for n, m in then.before.masks.items())
    assert {sum(int(m.sum()) for m in c.after.masks.values()) for c in moved[7:]} == {round(0.1 * total)}
    assert any((c.after.masks[n] > c.before.masks[n]).any() for c in moved[8:] for n in built.masks)


def test_as_published_stops_one_pruning_early_and_a_little_above(tmp_path, monkeypatch):
    pruned = prunings(monkeypatch)
    options = ["method.initial_density=0.5", "sparsity.density=0.1", "method.prune_end=10", "method.as_published=true"]
    built = run_level(tmp_path, "method=granet", *SHORT, *options)
    assert [change.step for change in pruned] == [2, 4, 6, 8]
    start = round(0.5 * built.masks.total) / built.masks.total
    assert built.masks.kept == int((0.1 + (start - 0.1) / 5**3) * built.masks.total + 0.5)


def test_a_start_below_the_path_is_left_alone_until_the_path_comes_down(tmp_path, monkeypatch):
    pruned = prunings(monkeypatch)
    options = ["method.initial_density=0.25", "sparsity.density=0.05", "method.prune_end=20"]
    built = run_level(tmp_path, "method=granet", *SHORT, *options, "+method.stages.train.callbacks.gradual.start=0.5")
    kept = [sum(int(m.sum()) for m in change.after.masks.values()) for change in pruned]
    start = round(0.25 * built.masks.total)
    expected = [min(start, count_kept(path(n, 10, 0.5, 0.05), built.masks.total)) for n in range(1, 11)]
    assert kept == expected
    assert kept[:2] == [start, start] != kept[2:4]
    assert kept[-1] == count_kept(0.05, built.masks.total)


def test_a_path_cannot_rise(tmp_path):
    with pytest.raises(ValueError, match="gradual pruning cannot rise from density"):
        run_level(tmp_path, "method=granet", *SHORT, "method.initial_density=0.05", "sparsity.density=0.3")


def test_the_allocation_with_a_floor_keeps_global_pruning_from_emptying_a_layer(tmp_path):
    """The first layer has tiny weights: `global_` empties it, `with_floor` does not."""
    options = ["sparsity.density=0.02", "method.prune_end=20", "method.fraction.end=0.5"]
    for allocation, emptied in (("global_", True), ("with_floor", False)):
        how = [f"method/allocation@method.gradual_allocation={allocation}", "method.initial_density=1.0"]
        built = run_level(tmp_path / allocation, "method=granet", *SHORT, *options, *how, watch=(Shrink(),))
        assert (min(built.masks.kept_by_layer().values()) == 0) == emptied
        assert built.masks.kept == round(0.02 * built.masks.total)


STARTS = [(1.0, "erk"), (0.5, "erk"), (0.1, "erk"), (0.5, "uniform"), (0.1, "uniform"), (0.5, "balanced")]
STARTS += [(0.1, "balanced")]  # the other layers start with fewer weights than their target, so the head keeps the rest


class Shrink(pl.Callback):
    """Makes the first layer's weights tiny before anything else looks at them."""

    def on_fit_start(self, trainer, pl_module):
        with torch.no_grad():
            pl_module.masks.weights(pl_module.net)[0].mul_(1e-6)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.on_fit_start(trainer, pl_module)


@pytest.mark.parametrize(("initial", "allocation"), STARTS)
def test_granet_uniform_keeps_the_classifier_at_a_fifth_from_every_start(initial, allocation, tmp_path):
    options = [f"method.initial_density={initial}", f"method/allocation={allocation}", "sparsity.density=0.05"]
    built = run_level(tmp_path, "method=granet_uniform", *SHORT, *options)
    *others, head = built.masks.kept_by_layer().values()
    sizes = [mask.numel() for mask in built.masks.values()]
    target = round(0.05 * sum(sizes))
    assert sum(others) + head == target
    assert 0 < head <= round(0.2 * sizes[-1])
    if initial == 1.0:
        assert head == round(0.2 * sizes[-1])
        rest = (target - head) / sum(sizes[:-1])
        assert all(abs(kept - rest * size) <= 1 for kept, size in zip(others, sizes[:-1], strict=True))
