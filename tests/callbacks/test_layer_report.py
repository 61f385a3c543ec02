"""A collapsed layer is named before training, or refused; level 0's table says what each layer keeps and costs."""

import csv
import logging

import pytest
import torch

from lth.analysis.layers import layer_table
from lth.callbacks.watch.layer_report import _collapse
from lth.networks import mlp
from lth.pruning import Masks
from tests.support.harness import train

# magnitude empties the last hidden layer of this one: torch's default weights are smallest where the fan-in is largest
EMPTIED = ("method=magnitude_at_init", "sparsity.density=0.01", "model.widths=[16,300]", "model.init=torch_default")


def table(**emptied: int) -> list:
    """The layer table of an MLP, after so many outputs of a layer were cut off."""
    net = mlp(classes=4, channels=1, image_size=4, widths=[8, 6])
    masks = Masks.ones(net)
    for name, outputs in emptied.items():
        masks[{"first": "hidden.0.weight", "second": "hidden.1.weight"}[name]][:outputs] = 0
    return layer_table(net, masks, (1, 4, 4))


def test_collapse_names_empty_layers_and_says_when_the_network_is_cut():
    assert _collapse(table()) == ""
    assert _collapse(table(first=7)) == ""
    assert _collapse(table(first=8)) == ("the network is cut from input to output; empty layers: ['hidden.0.weight']")
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2), torch.nn.Linear(2, 2))
    masks = Masks.ones(net)
    masks["1.weight"][0] = 0
    masks["2.weight"][:, 1] = 0
    assert _collapse(layer_table(net, masks, (1, 2, 2))) == "the network is cut from input to output; empty layers: []"


@pytest.mark.slow
def test_a_network_cut_off_is_warned_of_by_layer_and_trained_all_the_same(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        train(tmp_path, *EMPTIED)
    assert "level 0 (density_0.01): the network is cut from input to output; empty layers: ['" in caplog.text
    assert (tmp_path / "results.csv").exists()


@pytest.mark.slow
def test_a_network_cut_off_is_an_error_on_request(tmp_path):
    with pytest.raises(ValueError, match=r"cut from input to output; empty layers: \[.*allow_dead=true"):
        train(tmp_path, *EMPTIED, "allow_dead=false")
    assert not list(tmp_path.rglob("last.ckpt"))


@pytest.mark.slow
def test_a_sound_network_is_not_warned_of(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        train(tmp_path, "method=erk", "sparsity.density=0.3", "allow_dead=false")
    assert "empty" not in caplog.text


@pytest.mark.slow
def test_the_layer_table_is_printed_before_training_and_written(tmp_path, capsys):
    train(tmp_path, "method=erk", "sparsity.density=0.3")
    shown = capsys.readouterr().out
    assert shown.index("mult-adds") < shown.index("test accuracy")
    with (tmp_path / "layers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["layer"] for row in rows] == ["hidden.0.weight", "hidden.1.weight", "classifier.weight"]
    total = sum(int(row["kept"]) for row in rows)
    assert total == round(0.3 * sum(int(row["total"]) for row in rows))
    total_line = next(line for line in shown.splitlines() if "total" in line)
    assert str(total) in total_line
    assert str(sum(int(row["macs_kept"]) for row in rows)) in total_line
    for row in rows:
        assert int(row["effective"]) <= int(row["kept"])
        assert float(row["density"]) == int(row["kept"]) / int(row["total"])
