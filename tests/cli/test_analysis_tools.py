"""`lth sensitivity` and `lth summary` on a run of digits: what they write, say and refuse."""

import csv
import shutil
from pathlib import Path

import pytest

from lth.analysis.layer_sensitivity import accuracy_and_loss
from lth.cli import _sensitivity, _summary
from lth.cli._best_epochs import best_epochs
from lth.experiment.load import data_of, load_level
from lth.pruning.masks import fingerprint
from lth.tickets import Ticket
from tests.support.harness import train
from tests.support.left import curves, rows, unseal

DIGITS = "model=mlp", "model.widths=[40,20]", "recipe.epochs=3", "dataset=digits", "sparsity=list", "threads=1"
LAYERS = ["hidden.0.weight", "hidden.1.weight", "classifier.weight"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """IMP of a small MLP on digits: a dense level and one of density 0.5."""
    folder = tmp_path_factory.mktemp("digits")
    train(folder, *DIGITS, "sparsity.densities=[0.5]", "trainer=cpu", small=False)
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def refuses(main, message: str, *arguments: object) -> None:
    with pytest.raises(SystemExit) as error:
        main([str(a) for a in arguments])
    assert message in str(error.value.code)


@pytest.mark.slow
def test_sensitivity_writes_a_row_a_tensor_and_sparsity_and_the_first_is_the_trained_network(run, tmp_path, capsys):
    _sensitivity.main([str(run), "--level", "0", "--range", "0,0.95,0.3", "--out", str(tmp_path)])
    found = table(tmp_path / "sensitivity_element.csv")
    assert list(found[0]) == ["parameter", "sparsity", "top1", "top5", "loss"]
    expected = [(name, sparsity) for name in LAYERS for sparsity in (0, 0.3, 0.6, 0.9)]
    assert [(row["parameter"], float(row["sparsity"])) for row in found] == expected
    dense = rows(run)[0]
    for row in found[::4]:
        assert float(row["top1"]) == pytest.approx(float(dense["val_accuracy"]), abs=1e-6)
        assert float(row["top5"]) == pytest.approx(float(dense["val_top5"]), abs=1e-6)
        assert float(row["loss"]) == pytest.approx(float(dense["val_loss"]), abs=1e-5)
    assert min(float(row["top1"]) for row in found) < float(dense["val_accuracy"])
    assert (tmp_path / "sensitivity_element.png").read_bytes()[:4] == b"\x89PNG"
    assert "on all 200 validation images" in capsys.readouterr().out


@pytest.mark.slow
def test_sensitivity_of_a_pruned_level_starts_from_its_sparse_weights(run):
    _sensitivity.main([str(run), "--unit", "in_features", "--range", "0,0.5,0.25", "--parameters", "hidden.1.weight"])
    (level,) = run.glob("level_01_*")
    found = table(level / "sensitivity_in_features.csv")
    assert float(found[0]["top1"]) == pytest.approx(float(rows(run)[1]["val_accuracy"]), abs=1e-6)
    assert len(found) == 2


@pytest.mark.slow
def test_subsets_and_test_data_are_said_in_the_output_and_in_the_names(run, tmp_path, capsys):
    short = "--range", "0,0.5,0.5", "--out", str(tmp_path), "--parameters", "classifier.weight"
    _sensitivity.main([str(run), *short, "--samples", "30"])
    assert "on 30 of 200 validation images (seed 0)" in capsys.readouterr().out
    _sensitivity.main([str(run), *short, "--data", "test"])
    assert "on all 597 TEST images" in capsys.readouterr().out
    (row,) = table(tmp_path / "sensitivity_element_test.csv")
    assert float(row["top1"]) == pytest.approx(float(rows(run)[1]["test_accuracy"]), abs=1e-6)


@pytest.mark.slow
def test_sensitivity_refuses_what_makes_no_sense(run, tmp_path):
    refuses(_sensitivity.main, "no prunable weight of this run has filters", run, "--unit", "filters")
    refuses(_sensitivity.main, "the unit 'columns' is not one of", run, "--unit", "columns")
    refuses(_sensitivity.main, "are not prunable weights of this run", run, "--parameters", "hidden.0")
    refuses(_sensitivity.main, "START,END,STEP", run, "--range", "0,95,5")
    refuses(_sensitivity.main, "no finished level 7", run, "--level", "7")
    refuses(_sensitivity.main, "1000 samples asked, there are 200", run, "--samples", "1000")
    refuses(_sensitivity.main, "holds no finished level", tmp_path)
    refuses(_sensitivity.main, "there is no folder", tmp_path / "none")


@pytest.mark.slow
def test_without_a_validation_split_test_data_must_be_asked_for(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    unseal(copy)
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("val_size: 200", "val_size: 0"))
    refuses(_sensitivity.main, "--data test", copy)
    _sensitivity.main([str(copy), "--data", "test", "--range", "0,0.5,0.5"])


@pytest.mark.slow
def test_a_finished_level_is_opened_as_it_was_tested(run):
    level = load_level(run, 1)
    ticket = Ticket.load(level.folder / "ticket.safetensors")
    assert fingerprint(level.masks.bools()) == fingerprint(ticket.masks)
    assert all(not p[~ticket.masks[n]].any() for n, p in level.net.named_parameters() if n in ticket.masks)
    found = accuracy_and_loss(level.net, data_of(level.config).test_dataloader())
    assert found["top1"] == pytest.approx(float(rows(run)[1]["test_accuracy"]), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["recipe.ema=0.8"],
        ["method=str", "sparsity=one_shot", "sparsity.density=0.3", "method.start=-3", "method.every=2"],
        ["method=edge_popup", "sparsity.density=0.5"],
    ],
    ids=["averaged", "soft thresholds", "search"],
)
def test_averages_and_what_searches_found_are_opened_as_tested_too(overrides, tmp_path):
    train(tmp_path, "method=dense", *overrides)
    level = load_level(tmp_path, 0)
    found = accuracy_and_loss(level.net, data_of(level.config).test_dataloader())
    assert found["top1"] == pytest.approx(float(rows(tmp_path)[0]["test_accuracy"]), abs=1e-6)
    assert found["loss"] == pytest.approx(float(rows(tmp_path)[0]["test_loss"]), rel=1e-4)


@pytest.mark.slow
def test_summary_counts_what_the_ticket_keeps(run, tmp_path, capsys):
    _summary.main([str(run), "--out", str(tmp_path)])
    (level,) = run.glob("level_01_*")
    ticket = Ticket.load(level / "ticket.safetensors")
    total = table(tmp_path / "sparsity.csv")[-1]
    assert (int(total["nnz_dense"]), int(total["nnz_sparse"])) == (ticket.total, ticket.kept)
    macs = table(tmp_path / "compute.csv")[-1]
    assert (int(macs["macs"]), int(macs["macs_sparse"])) == (ticket.total, ticket.kept)  # an MLP uses a weight once
    assert [int(row["kept"]) for row in table(tmp_path / "masks.csv")] == [int(m.sum()) for m in ticket.masks.values()]
    text = capsys.readouterr().out
    assert all(word in text for word in ("Fine %", "dense size", "packed size", "multiply-adds of one image"))
    _summary.main([str(level / "ticket.safetensors"), "--out", str(tmp_path / "ticket")])
    assert table(tmp_path / "ticket" / "masks.csv") == table(tmp_path / "masks.csv")


@pytest.mark.slow
def test_summary_takes_a_networks_name(capsys):
    _summary.main(["model=resnet20", "dataset=cifar10"])
    assert "40,813,184" in capsys.readouterr().out
    refuses(_summary.main, "there is no model=resnet21; did you mean resnet32", "model=resnet21")
    refuses(_summary.main, "no ticket at", "nowhere")


@pytest.mark.slow
def test_best_epochs_are_those_of_fewest_weights_by_validation_data(run, tmp_path, capsys):
    _summary.main([str(run), "--epochs", "4", "--out", str(tmp_path)])
    best = table(tmp_path / "epochs.csv")
    ours = sorted(curves(run), key=lambda r: (float(r["density"]), -float(r["val_accuracy"]), -float(r["val_top5"])))
    assert [float(r["val_accuracy"]) for r in best] == [float(r["val_accuracy"]) for r in ours[:4]]
    assert [int(r["level"]) for r in best] == [1, 1, 1, 0]
    refuses(_summary.main, "is a level", next(run.glob("level_00_*")), "--epochs", "1")


def test_epochs_are_ordered_by_nonzeros_then_top1_then_top5_then_epoch():
    def epoch(number, density, top1, top5):
        return {"level": "0", "epoch": str(number), "density": density, "val_accuracy": top1, "val_top5": top5}

    given = [
        epoch(0, "0.5", "0.9", "1"),
        epoch(1, "0.2", "0.7", "0.9"),
        epoch(2, "0.2", "0.8", "0.9"),
        epoch(3, "0.2", "0.8", "0.95"),
        epoch(4, "0.2", "0.8", "0.95"),
        epoch(5, "0.1", "", ""),
    ]
    assert [row["epoch"] for row in best_epochs(given, 100)] == [4, 3, 2, 1, 0]
    assert best_epochs(given, 100)[0]["kept"] == 20
    with pytest.raises(ValueError, match="no epoch has a validation accuracy"):
        best_epochs(given[-1:], 100)
