"""`lth ticket`: every command on tickets made here, what it prints, and what it refuses."""

import csv
import json

import pytest
import torch
import yaml
from safetensors.torch import load_file

from lth.cli.ticket.command import main
from lth.networks import resnet20
from lth.networks.from_config import build
from lth.pruning import Masks
from lth.pruning.masks import fingerprint
from lth.pruning.seeds import derive
from lth.tickets import Ticket
from lth.tickets.layouts import LAYOUTS
from lth.tickets.treatments import TREATMENTS
from tests.support.foreign_files import masks_of, net
from tests.support.harness import train

RESNET = {"_target_": "lth.networks.resnet20", "classes": 10, "channels": 3, "image_size": 32}
MLP = {"_target_": "lth.networks.mlp", "widths": [24, 16], "classes": 4, "channels": 1, "image_size": 8}


def a_ticket(path, description=None, density=0.3, seed=0, **header):
    description = description or MLP
    network = build(description, seed)
    masks = Masks.ones(network)
    random = torch.Generator().manual_seed(seed)
    for mask in masks.values():
        mask.copy_(torch.rand(mask.shape, generator=random) < density)
    found = Ticket(masks.bools(), network.state_dict(), {"network": description, "seeds": {"init": seed}, **header})
    found.save(path)
    return found


@pytest.fixture
def path(tmp_path):
    a_ticket(tmp_path / "t.safetensors", method="imp", level=3)
    return tmp_path / "t.safetensors"


def refuses(message, *arguments):
    with pytest.raises(SystemExit) as error:
        main([str(a) for a in arguments])
    assert message in str(error.value.code)
    assert "\n" not in str(error.value.code)


def run(capsys, *arguments):
    main([str(a) for a in arguments])
    return capsys.readouterr().out


@pytest.mark.slow
def test_show_prints_totals_layers_and_provenance(tmp_path, capsys):
    ticket = a_ticket(tmp_path / "t", RESNET, 0.05, method="snip", parent={"file": "a.pt"})
    text = run(capsys, "show", tmp_path / "t", "--out", tmp_path)
    everything = ticket.kept + 272_474 - 270_896
    assert f"{ticket.kept:,} of 270,896 prunable weights kept: density {ticket.density:.4g}" in text
    assert f"{everything:,} of all 272,474 parameters: {everything / 272_474:.4g}" in text
    assert "40,813,184" in text
    assert "layer3.0.shortcut.conv.weight" in text
    assert "network._target_: lth.networks.resnet20" in text
    assert "parent.file: a.pt" in text
    rows = list(csv.DictReader((tmp_path / "layers.csv").open()))
    assert len(rows) == 22
    assert sum(int(row["kept"]) for row in rows) == ticket.kept
    assert {"shape", "density", "dead_outputs", "dead_inputs", "macs", "macs_kept"} <= set(rows[0])


def test_show_does_without_the_network_where_the_ticket_names_none(tmp_path, capsys):
    Ticket(masks_of(), net().state_dict()).save(tmp_path / "t")
    text = run(capsys, "show", tmp_path / "t")
    assert "names no network" in text
    assert "of all 99 parameters" in text  # 36+4 conv, 8 batch norm, 48+3 linear; its statistics are no parameters


def test_show_does_without_the_shape_of_an_image(tmp_path, capsys):
    linear = torch.nn.Linear(4, 3)
    Ticket(Masks.ones(linear).bools(), linear.state_dict()).save(tmp_path / "t")
    (tmp_path / "net.yaml").write_text("_target_: torch.nn.Linear\nin_features: 4\nout_features: 3\n")
    text = run(capsys, "show", tmp_path / "t", "--network", tmp_path / "net.yaml")
    assert "without multiply-adds: the configuration of torch.nn.Linear lacks the keys channels" in text


def test_a_ticket_never_decides_what_code_runs(tmp_path, capsys):
    export = "export", tmp_path / "t", "--format", "onnx", "--out", tmp_path / "t.onnx"
    for target in (
        "os.system",
        "print",
        "lth.networks.os.system",
        "lth.networks.external.torchvision_model",
        "lth.networks._x",
    ):
        Ticket(masks_of(), net().state_dict(), {"network": {"_target_": target}}).save(tmp_path / "t")
        refuses(f"the ticket names the network {target}, which is not lth's", *export)
        shown = run(capsys, "show", tmp_path / "t")
        assert f"without multiply-adds: the ticket names the network {target}, which is not lth's" in shown


def test_compare_reports_overlap_signs_and_correlation(tmp_path, capsys):
    a = a_ticket(tmp_path / "a", seed=0)
    b = a_ticket(tmp_path / "b", seed=1)
    text = run(capsys, "compare", tmp_path / "a", tmp_path / "b", "--p", "0.2", "--out", tmp_path)
    *layers, total = csv.DictReader((tmp_path / "overlap.csv").open())
    assert [row["layer"] for row in layers] == list(a.masks)
    both = sum(int((a.masks[n] & b.masks[n]).sum()) for n in a.masks)
    assert (int(total["kept_a"]), int(total["kept_b"]), int(total["both"])) == (a.kept, b.kept, both)
    assert float(total["jaccard"]) == pytest.approx(both / (a.kept + b.kept - both))
    assert float(total["by_chance"]) == pytest.approx(float(total["jaccard"]), abs=0.03)  # independent masks
    assert float(total["same_sign"]) == pytest.approx(0.5, abs=0.15)
    assert "R_0.2" in text


def test_a_ticket_agrees_with_itself(path, tmp_path, capsys):
    run(capsys, "compare", path, path, "--out", tmp_path)
    *_, total = csv.DictReader((tmp_path / "overlap.csv").open())
    assert (float(total["jaccard"]), float(total["same_sign"])) == (1, 1)
    assert float(total["R_0.5"]) == pytest.approx(1, abs=0.01)


def test_compare_names_the_layers_in_which_two_differ(path, tmp_path):
    a_ticket(tmp_path / "other", {**MLP, "widths": [24, 15]})
    message = "differ in names or shapes at ['hidden.1.weight', 'classifier.weight']"
    refuses(message, "compare", path, tmp_path / "other")


def test_extraction_and_application_are_inverse(path, tmp_path, capsys):
    ticket = Ticket.load(path)
    torch.save(dict(ticket.weights), tmp_path / "initial.pt")
    trained = {f"net.{n}": w + 1 for n, w in ticket.weights.items()}
    torch.save({"state_dict": trained, "global_step": 5, "masks": dict(ticket.masks)}, tmp_path / "trained.ckpt")
    (tmp_path / "net.yaml").write_text(yaml.safe_dump(MLP))
    arguments = ["--initial", tmp_path / "initial.pt", "--trained", tmp_path / "trained.ckpt"]
    text = run(capsys, "extract", *arguments, "--network", tmp_path / "net.yaml", "--out", tmp_path / "e")
    assert f"{ticket.kept:,} of {ticket.total:,} weights kept" in text
    extracted = Ticket.load(tmp_path / "e")
    assert fingerprint(extracted.masks) == fingerprint(ticket.masks)
    assert extracted.header["network"] == MLP
    for name in ("applied.pt", "applied.safetensors"):
        run(capsys, "apply", tmp_path / "e", tmp_path / "trained.ckpt", "--out", tmp_path / name)
        state = load_file(tmp_path / name) if "safe" in name else torch.load(tmp_path / name, weights_only=True)
        assert set(state) == set(ticket.weights)
        for layer, mask in ticket.masks.items():
            assert torch.equal(state[layer], (ticket.weights[layer] + 1) * mask)
    refuses("the initial weights are trained: global_step=5", "extract", "--initial", tmp_path / "trained.ckpt",
            "--trained", tmp_path / "trained.ckpt", "--out", tmp_path / "x")  # fmt: skip
    (tmp_path / "net.yaml").write_text(yaml.safe_dump({**MLP, "widths": [24, 17]}))
    refuses("do not fit lth.networks.mlp: names or shapes differ at ['hidden.1.weight'", "extract", *arguments,
            "--network", tmp_path / "net.yaml", "--out", tmp_path / "x")  # fmt: skip
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_a_level_of_lth_itself_is_extracted_from_its_files(tmp_path, capsys):
    train(tmp_path / "run", "sparsity=one_shot", "sparsity.density=0.5", "recipe.epochs=1")
    dense, pruned = sorted((tmp_path / "run").glob("level_*"))
    arguments = ["--initial", tmp_path / "run" / "rewind.ckpt", "--trained", pruned / "last.ckpt"]
    run(capsys, "extract", *arguments, "--network", tmp_path / "run" / "config.yaml", "--out", tmp_path / "e")
    extracted, own = Ticket.load(tmp_path / "e"), Ticket.load(pruned / "ticket.safetensors")
    assert fingerprint(extracted.masks) == fingerprint(own.masks)
    assert fingerprint(extracted.weights) == fingerprint(own.weights)
    text = run(capsys, "compare", pruned / "ticket.safetensors", dense / "last.ckpt", "--p", "0.2")
    assert "R_0.2" in text
    run(capsys, "show", pruned / "ticket.safetensors")


@pytest.mark.parametrize("layout", [name for name, room in LAYOUTS.items() if hasattr(room, "write")])
def test_export_and_import_give_the_same_masks_and_weights(layout, path, tmp_path, capsys):
    run(capsys, "export", path, "--format", layout, "--out", tmp_path / "there")
    run(capsys, "import", tmp_path / "there", "--from", layout, "--out", tmp_path / "back")
    before, after = Ticket.load(path), Ticket.load(tmp_path / "back")
    assert fingerprint(after.masks) == fingerprint(before.masks)
    assert fingerprint(after.weights) == fingerprint(before.weights)
    assert after.header["import"]["from"] == layout


def test_an_option_that_a_layout_lacks_is_refused_with_its_own(tmp_path):
    (tmp_path / "a").write_text("")
    refuses("--from turboprune has no option ['density']; it has ['weights']", "import", tmp_path / "a", "--from",
            "turboprune", "--density", "0.5", "--out", tmp_path / "b")  # fmt: skip


@pytest.mark.parametrize("treatment", list(TREATMENTS))
def test_a_treated_ticket_is_a_ticket_that_says_so(treatment, path, tmp_path, capsys):
    torch.save(build(MLP, 9).state_dict(), tmp_path / "scores.pt")
    how = ["--treatment", treatment, "--seed", "3", "--scores", tmp_path / "scores.pt"]
    run(capsys, "treat", path, *how, "--out", tmp_path / "c")
    before, after = Ticket.load(path), Ticket.load(tmp_path / "c")
    assert after.kept == before.kept
    assert (after.header["treatment"], after.header["treatment_seed"]) == (treatment, 3)
    assert after.header["parent"]["file"] == "t.safetensors"
    assert (fingerprint(after.masks) == fingerprint(before.masks)) == (treatment in ("none", "reinit"))
    assert (fingerprint(after.weights) == fingerprint(before.weights)) == (treatment != "reinit")


def test_mistakes_are_one_line(path, tmp_path):
    refuses("no ticket at", "show", tmp_path / "none")
    (tmp_path / "text").write_text("text")
    refuses("is not a ticket", "show", tmp_path / "text")
    refuses("treatment=invert needs the scores", "treat", path, "--treatment", "invert", "--out", tmp_path / "x")
    refuses("does not fit", "export", path, "--format", "safetensors", "--out", tmp_path / "x.pt")
    refuses("no file at", "show", path, "--network", tmp_path / "none.yaml")
    (tmp_path / "no.yaml").write_text("widths: 3")
    refuses("describes no network", "show", path, "--network", tmp_path / "no.yaml")
    (tmp_path / "no.yaml").write_text(json.dumps({"_target_": "lth.networks.lenet_300"}))
    refuses("there is no network lth.networks.lenet_300", "show", path, "--network", tmp_path / "no.yaml")
    (tmp_path / "no.yaml").write_text(json.dumps({**RESNET, "depth": 3}))
    refuses("lth.networks.resnet20 cannot be built", "show", path, "--network", tmp_path / "no.yaml")
    (tmp_path / "other.yaml").write_text(json.dumps(RESNET))
    refuses("masks do not fit the network", "show", path, "--network", tmp_path / "other.yaml")


def test_networks_are_drawn_as_a_run_draws_them():
    torch.manual_seed(derive("init", 4))
    drawn = resnet20(10, 3, 32)
    assert fingerprint(build(RESNET, 4).state_dict()) == fingerprint(drawn.state_dict())
