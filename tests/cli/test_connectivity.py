"""Between levels: the line from one level's weights to the next one's, and accuracy around each pruning."""

import csv
from pathlib import Path

import pytest
import torch

from lth.analysis.hessian import top_eigenvalue
from lth.analysis.linear_connectivity import (
    _barrier,
    _interpolate,
    _measure,
    compare_levels,
    level_end,
    line_points,
    masked,
)
from lth.cli._connectivity import main
from lth.experiment.build import Experiment
from lth.storage.folder import RunFolder
from tests.support.harness import configuration, train
from tests.support.left import rows

LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3]"


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def two_states() -> tuple[dict, dict]:
    torch.manual_seed(0)
    nets = [torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)) for _ in range(2)]
    nets[1][1].num_batches_tracked += 5
    return nets[0].state_dict(), nets[1].state_dict()


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_a_point_of_the_line_is_the_weighted_mean_and_counters_are_the_starts(alpha):
    a, b = two_states()
    point = _interpolate(a, b, alpha)
    assert torch.allclose(point["0.weight"], (1 - alpha) * a["0.weight"] + alpha * b["0.weight"], atol=1e-6)
    assert point["1.num_batches_tracked"] == a["1.num_batches_tracked"]


def test_masks_make_zeros_and_leave_the_rest():
    a, _ = two_states()
    mask = {"0.weight": torch.rand(4, 3) > 0.5}
    found = masked(a, mask)
    assert torch.equal(found["0.weight"], a["0.weight"] * mask["0.weight"])
    assert torch.equal(found["0.bias"], a["0.bias"])


def test_a_barrier_is_measured_from_the_straight_line_between_the_two_ends():
    line = [{"alpha": a, "loss": loss} for a, loss in ((0, 1.0), (0.5, 3.0), (1, 2.0))]
    assert _barrier(line, lambda row: row["loss"]) == pytest.approx(1.5)
    assert _barrier([line[0], line[2]], lambda row: row["loss"]) == 0


def test_the_grid_has_both_ends():
    assert line_points(0.1) == pytest.approx([i / 10 for i in range(11)])
    for step in (0.0, -0.1, 0.3, 2):
        with pytest.raises(ValueError, match="divided by a whole number"):
            line_points(step)


def test_a_net_is_connected_with_itself_and_a_pruning_of_nothing_costs_nothing():
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    state = {name: value.clone() for name, value in net.state_dict().items()}
    all_kept = {"1.weight": torch.ones(3, 4, dtype=torch.bool)}
    batches = [(torch.randn(8, 4), torch.randint(3, (8,)))]
    line, pruning = compare_levels(net, (state, all_kept), (state, all_kept), batches, line_points(0.5))
    assert {row["loss"] for row in line} == {_measure(net, state, batches)["loss"]}
    assert pruning["accuracy_before"] == pruning["accuracy_after"]
    assert pruning["loss_barrier"] == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_the_ends_of_the_lines_are_what_the_run_measured(tmp_path: Path, capsys):
    train(tmp_path, "method=lrr", *LADDER, "model.batch_norm=true")
    main([str(tmp_path)])
    lines, prunings, levels = (table(tmp_path / f"{n}.csv") for n in ("connectivity", "around_pruning", "results"))
    assert (tmp_path / "connectivity.png").is_file()
    assert str(tmp_path / "connectivity.csv") in capsys.readouterr().out
    assert [(row["level"], row["source"], row["data"]) for row in prunings] == [("1", "0", "val"), ("2", "1", "val")]
    for row, before, after in zip(prunings, levels, levels[1:], strict=False):
        assert float(row["accuracy_before"]) == pytest.approx(float(before["val_accuracy"]))
        assert float(row["loss_before"]) == pytest.approx(float(before["val_loss"]), abs=1e-5)
        assert float(row["density_after"]) == pytest.approx(float(after["density"]))
        line = [point for point in lines if point["level"] == row["level"]]
        assert len(line) == 11
        assert line[0]["accuracy"] == row["accuracy_after"]
        assert float(line[-1]["accuracy"]) == pytest.approx(float(after["val_accuracy"]))
        assert float(line[-1]["loss"]) == pytest.approx(float(after["val_loss"]), abs=1e-5)


@pytest.mark.slow
def test_just_after_a_pruning_the_trained_weights_stand_under_the_new_mask(tmp_path: Path):
    train(tmp_path, "dataset.val_size=0", *LADDER)
    main([str(tmp_path), "--step", "0.5"])
    (first, _) = table(tmp_path / "around_pruning.csv")
    assert first["data"] == "test"
    assert float(first["accuracy_before"]) == pytest.approx(float(rows(tmp_path)[0]["test_accuracy"]))
    levels = sorted(tmp_path.glob("level_*"))
    old, new = (level_end(level / "last.ckpt") for level in levels[:2])
    built = Experiment(configuration(tmp_path, "dataset.val_size=0", *LADDER), RunFolder(tmp_path))
    built.net.load_state_dict(masked(old[0], new[1]))
    built.net.eval()
    with torch.no_grad():
        hits = torch.cat([built.net(x).argmax(1) == labels for x, labels in built.data.test_dataloader()])
    assert float(first["accuracy_after"]) == pytest.approx(float(hits.float().mean()))


@pytest.mark.slow
def test_the_top_eigenvalue_is_that_of_the_training_loss_where_levels_begin_and_end(tmp_path: Path, capsys):
    train(tmp_path, *LADDER, "recipe.epochs=1")
    main([str(tmp_path), "--step", "1", "--hessian", "30", "--iterations", "60"])
    assert str(tmp_path / "hessian.csv") in capsys.readouterr().out
    found = table(tmp_path / "hessian.csv")
    assert [(row["level"], row["at"]) for row in found] == [(str(i), at) for i in range(3) for at in ("start", "end")]
    assert {(row["images"], row["iterations"]) for row in found} == {("30", "60")}
    built = Experiment(configuration(tmp_path, *LADDER), RunFolder(tmp_path))
    x, labels = (torch.cat(parts)[:30] for parts in zip(*built.data.scoring_batches("hessian"), strict=True))
    weights, masks = level_end(tmp_path / "level_02_density_0.3" / "last.ckpt")
    built.net.load_state_dict(weights)
    value, _ = top_eigenvalue(built.net, masks, [(x, labels)], iterations=60)
    assert float(found[-1]["eigenvalue"]) == pytest.approx(value, rel=1e-3)
    assert float(found[-1]["eigenvalue"]) > 0
    assert float(found[-1]["density"]) == pytest.approx(0.3, abs=1e-3)


@pytest.mark.slow
def test_counts_that_measure_nothing_are_refused(tmp_path: Path):
    train(tmp_path, *LADDER, "recipe.epochs=1")
    for wrong in (["--hessian", "-1"], ["--hessian", "5", "--iterations", "0"]):
        with pytest.raises(SystemExit, match="must be 0 or more images"):
            main([str(tmp_path), *wrong])


@pytest.mark.slow
def test_a_folder_without_two_levels_is_refused(tmp_path: Path):
    with pytest.raises(SystemExit, match="no run of lth"):
        main([str(tmp_path)])
    train(tmp_path, "method=dense")
    with pytest.raises(SystemExit, match="no two finished levels"):
        main([str(tmp_path)])
