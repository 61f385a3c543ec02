"""What is written about changing masks: density, churn and share ever active of each layer and epoch; a picture."""

import csv

import matplotlib.image
import pytest
import torch

from tests.support.harness import train, train_apart
from tests.support.left import curves, rows, state
from tests.support.moving import moves, prunings, run_level

pytestmark = pytest.mark.slow

GRANET = ["method=granet", "method.initial_density=0.5", "sparsity.density=0.2", "method.every=2", "recipe.epochs=4"]


def table(folder) -> list[dict[str, str]]:
    with (folder / "topology.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_numbers_are_those_of_the_masks(tmp_path, monkeypatch):
    """Against masks written down at every pruning and every move."""
    pruned, moved = prunings(monkeypatch), moves(monkeypatch)
    built = run_level(tmp_path, *GRANET)
    seen = sorted([*pruned, *moved], key=lambda change: change.step)  # at one step pruning comes first
    written = {(row["epoch"], row["layer"]): row for row in built.callbacks["WatchTopology"].rows()}
    assert len(written) == 4 * (len(built.masks) + 1)
    start, totals = seen[0].before.masks, [0, 0, 0]
    for layer in built.masks:
        before = start[layer]
        for epoch in range(4):
            until = [c for c in seen if c.step <= 4 * (epoch + 1)]
            now, ever = until[-1].after.masks[layer], torch.stack([start[layer], *(_at_end(until, layer))]).any(0)
            row = written[epoch, layer]
            assert row["step"] == 4 * (epoch + 1)
            assert (row["total"], row["kept"]) == (now.numel(), int(now.sum()))
            assert row["density"] == float(now.sum()) / now.numel()
            assert row["churn"] == pytest.approx(float((now & ~before).sum()) / float(now.sum()))
            assert row["ever_active"] == float(ever.sum()) / ever.numel()
            before = now
        totals = [a + b for a, b in zip(totals, (now.numel(), int(now.sum()), int(ever.sum())), strict=True)]
    last = written[3, "total"]
    assert [last["total"], last["kept"]] == totals[:2]
    assert last["ever_active"] == totals[2] / totals[0]


def _at_end(changes, layer):
    """The layer's mask after the last change of each step."""
    return {change.step: change.after.masks[layer] for change in changes}.values()


def test_table_picture_and_curves_are_written(tmp_path):
    train(tmp_path, *GRANET, draw=True)
    lines = table(tmp_path)
    columns = ["level", "epoch", "step", "layer", "total", "kept", "density", "churn", "ever_active"]
    assert list(lines[0]) == columns
    totals = [line for line in lines if line["layer"] == "total"]
    assert totals[-1]["kept"] == rows(tmp_path)[0]["kept"]
    assert [float(line["density"]) for line in totals] == sorted((float(t["density"]) for t in totals), reverse=True)
    shares = [float(line["ever_active"]) for line in totals]
    assert shares == sorted(shares)
    assert shares[-1] > float(totals[-1]["density"])
    for line, epoch in zip(totals, curves(tmp_path), strict=True):
        assert float(epoch["churn"]) == pytest.approx(float(line["churn"]))
        assert float(epoch["ever_active"]) == pytest.approx(float(line["ever_active"]))
    picture = matplotlib.image.imread(tmp_path / "topology.png")
    assert picture.shape[:2] == (600, 1350)
    assert (
        len({tuple(pixel) for pixel in picture[::4, ::4, :3].reshape(-1, 3).round(1)}) > 5
    )  # lines of several colours


def test_soft_thresholds_are_written_with_the_density_they_leave(tmp_path):
    train(tmp_path, "method=str", "method.start=-3", "method.decay=0.02", "sparsity.density=null")
    lines = [line for line in table(tmp_path) if line["layer"] != "total"]
    assert len(lines) == 9
    assert all(0 < float(line["threshold"]) < 0.1 for line in lines)
    kept = {line["layer"]: int(line["kept"]) for line in lines if line["epoch"] == "2"}
    assert sum(kept.values()) == int(rows(tmp_path)[0]["kept"])
    assert all(0 < int(line["kept"]) < int(line["total"]) for line in lines)


@pytest.mark.parametrize("method", [GRANET, [*GRANET, "method/memory=momentum", "recipe.ema=0.9"]], ids=["", "memory"])
def test_a_run_killed_within_its_schedule_writes_the_same_table_and_ends_with_the_same_bits(method, tmp_path):
    assert train_apart(tmp_path / "killed", method, ("step", 10)) == -9
    for folder in ("killed", "whole"):
        train(tmp_path / folder, *method)
    assert table(tmp_path / "killed") == table(tmp_path / "whole")
    assert state(tmp_path / "killed") == state(tmp_path / "whole")


def test_effective_densities_and_dead_units_are_finite_after_twenty_updates(tmp_path):
    twenty = ["recipe.epochs=null", "recipe.steps=24", "method.every=1", "method.stop=21"]
    train(tmp_path, "method=rigl", "method.order=after_step", "sparsity.density=0.1", *twenty)
    with (tmp_path / "layers.csv").open(newline="") as file:
        layers = list(csv.DictReader(file))
    assert len(layers) == 3
    for layer in layers:
        assert 0 <= int(layer["effective"]) <= int(layer["kept"])
        outputs, inputs = map(int, layer["shape"].split("x"))
        assert 0 <= int(layer["dead_outputs"]) < outputs
        assert 0 <= int(layer["dead_inputs"]) < inputs
