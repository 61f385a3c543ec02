"""Tickets from an untrained and a pruned checkpoint: by masks or by zeros, with names and shapes checked."""

import json

import pytest
import torch

from lth.pruning.masks import fingerprint
from lth.tickets import Ticket
from lth.tickets.formats.content import read
from lth.tickets.formats.extract import extract
from tests.support.foreign_files import ThinningRecipe, distiller, masks_of, net

MASKS = masks_of()


def trained_state(masks=MASKS):
    """Other weights than the untrained ones, with trained statistics; zero where pruned."""
    state = net(9).state_dict()
    state["bn.running_mean"] += 5
    state["bn.num_batches_tracked"] += 700
    return {n: w * masks[n] if n in masks else w for n, w in state.items()}


@pytest.fixture
def files(tmp_path):
    torch.save(net().state_dict(), tmp_path / "initial.pt")
    extra = {"optimizer_states": [{"state": {0: {"momentum_buffer": torch.ones(1)}}}], "global_step": 700}
    torch.save({"state_dict": trained_state(), "masks": MASKS, **extra}, tmp_path / "trained.ckpt")
    return tmp_path


def test_masks_of_one_and_the_whole_state_of_the_other(files):
    ticket = extract(read(files / "initial.pt"), read(files / "trained.ckpt"))
    assert fingerprint(ticket.masks) == fingerprint(MASKS)
    assert fingerprint(ticket.weights) == fingerprint(net().state_dict())
    assert (ticket.header["step"], ticket.header["masks_from"]) == (0, "stored masks")
    assert ticket.header["initial"]["file"] == "initial.pt"
    assert len(ticket.header["parent"]["sha256"]) == 64
    assert "optimizer" not in json.dumps(ticket.header)
    ticket.save(files / "ticket")
    assert fingerprint(Ticket.load(files / "ticket").weights) == fingerprint(net().state_dict())


def test_zeros_are_read_only_on_request_and_only_in_scope(files):
    state = trained_state()
    state["bn.bias"].zero_()
    torch.save(state, files / "zeros.pt")
    initial, trained = read(files / "initial.pt"), read(files / "zeros.pt")
    with pytest.raises(ValueError, match="stores no masks; allow zeros"):
        extract(initial, trained)
    ticket = extract(initial, trained, allow_zeros=True)
    assert fingerprint(ticket.masks) == fingerprint(MASKS)
    assert ticket.header["masks_from"] == "zeros"
    assert list(extract(initial, trained, allow_zeros=True, exclude=["conv.*"]).masks) == ["fc.weight"]
    with pytest.raises(ValueError, match=r"pattern 'conv1.\*' matches no prunable weight; there are \['conv.weight'"):
        extract(initial, trained, allow_zeros=True, exclude=["conv1.*"])
    with pytest.raises(ValueError, match="there is no zero"):
        extract(initial, read(files / "initial.pt"), allow_zeros=True)


def test_a_kept_weight_that_is_zero_stays_kept_where_masks_are_stored(files):
    state = trained_state()
    state["fc.weight"].zero_()
    torch.save({"state_dict": state, "masks": MASKS}, files / "a.ckpt")
    assert fingerprint(
        extract(read(files / "initial.pt"), read(files / "a.ckpt"), allow_zeros=True).masks
    ) == fingerprint(MASKS)


@pytest.mark.parametrize(("evidence", "named"), [
    ({"global_step": 1}, "global_step=1"),
    ({"epoch": 3}, "epoch=3"),
    ({"epoch": 0, "optimizer_state_dict": {"state": {0: {"momentum_buffer": torch.ones(1)}}}}, "its optimizer has"),
    ({"it": 5, "ep": 0}, "it=5"),
    ({"batches": 4}, "bn.num_batches_tracked=4"),
])  # fmt: skip
def test_a_trained_untrained_checkpoint_is_refused(evidence, named, files):
    state = net().state_dict()
    state["bn.num_batches_tracked"] += evidence.pop("batches", 0)
    torch.save({"state_dict": state, **evidence}, files / "initial.pt")
    with pytest.raises(ValueError, match=f"the initial weights are trained: {named}"):
        extract(read(files / "initial.pt"), read(files / "trained.ckpt"))
    assert extract(read(files / "initial.pt"), read(files / "trained.ckpt"), rewind_step=5).header["step"] == 5


@pytest.mark.parametrize(("change", "message"), [
    (lambda s: s.pop("bn.bias"), r"only in the initial one \['bn.bias'\]"),
    (lambda s: s.update(extra=torch.ones(1)), r"only in the trained one \['extra'\]"),
    (lambda s: s.update({"fc.bias": torch.ones(4)}), r"fc.bias is \(4,\), not \(3,\): it was thinned, but"),
])  # fmt: skip
def test_names_and_shapes_must_agree(change, message, files):
    state = trained_state()
    change(state)
    torch.save({"state_dict": state, "masks": MASKS}, files / "trained.ckpt")
    with pytest.raises(ValueError, match=message):
        extract(read(files / "initial.pt"), read(files / "trained.ckpt"))


def thinned(path):
    """A checkpoint without filters 1 and 3 of the convolution and the weights that read them, as Distiller thins."""
    left = torch.tensor([0, 2])
    modules = {
        "module.conv": {"out_channels": 2},
        "module.bn": {"num_features": 2, "running_mean": (0, left), "running_var": (0, left)},
        "module.fc": {"in_features": 8},
    }
    parameters = {
        "module.conv.weight": [(0, left)],
        "module.conv.bias": [(0, left)],
        "module.bn.weight": (0, left),
        "module.bn.bias": (0, left),
        "module.fc.weight": [(1, left, (3, 4, 2, 2), (3, 8))],
    }
    small, masks = {}, {}
    for name, weight in trained_state({}).items():
        if name == "fc.weight":
            small[name] = weight.view(3, 4, 4)[:, left].reshape(3, 8)
        else:
            small[name] = weight[left] if name.startswith(("conv", "bn")) and weight.dim() else weight
    masks["fc.weight"] = torch.rand(3, 8, generator=torch.Generator().manual_seed(0)) > 0.5
    return distiller(path, small, masks, recipes=[ThinningRecipe(modules, parameters)]), masks["fc.weight"]


def test_a_thinned_checkpoint_comes_back_in_the_original_coordinates(files):
    pruned, inner = thinned(files / "thin.pth")
    ticket = extract(read(files / "initial.pt"), read(pruned))
    conv, fc = ticket.masks["conv.weight"], ticket.masks["fc.weight"].view(3, 4, 4)
    assert conv.flatten(1).all(1).tolist() == [True, False, True, False]
    assert conv.flatten(1).any(1).tolist() == [True, False, True, False]
    assert not fc[:, [1, 3]].any()
    assert torch.equal(fc[:, [0, 2]].reshape(3, 8), inner)
    assert fingerprint(ticket.weights) == fingerprint(net().state_dict())


def test_the_thinned_form_cuts_the_initial_weights_too(files):
    pruned, inner = thinned(files / "thin.pth")
    ticket = extract(read(files / "initial.pt"), read(pruned), form="thinned")
    start = net().state_dict()
    assert torch.equal(ticket.weights["conv.weight"], start["conv.weight"][[0, 2]])
    assert torch.equal(ticket.weights["fc.weight"], start["fc.weight"].view(3, 4, 4)[:, [0, 2]].reshape(3, 8))
    assert ticket.weights["bn.running_var"].shape == (2,)
    assert torch.equal(ticket.masks["fc.weight"], inner)
    with pytest.raises(ValueError, match="form='small'"):
        extract(read(files / "initial.pt"), read(pruned), form="small")


def test_the_masked_network_computes_what_the_thinned_one_does(files):
    """No layer reads a removed filter, so masking only prunable weights gives the same outputs."""
    pruned, _ = thinned(files / "thin.pth")
    content = read(pruned)
    masked = extract(read(files / "initial.pt"), content)
    big = net(9)
    big.load_state_dict({n: w * masked.masks[n] if n in masked.masks else w for n, w in trained_state({}).items()})
    small = net()
    small.conv, small.bn, small.fc = torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Linear(8, 3)
    small.load_state_dict({n: w * content.masks[n] if n in content.masks else w for n, w in content.weights.items()})
    images = torch.randn(5, 1, 4, 4)
    assert torch.allclose(big.eval()(images), small.eval()(images), atol=1e-6)


def test_a_ticket_of_lth_knows_its_network_afterwards(files):
    Ticket(MASKS, net().state_dict(), {"network": {"_target_": "x"}, "seeds": {"init": 3}}).save(
        files / "t.safetensors"
    )
    header = extract(read(files / "t.safetensors"), read(files / "trained.ckpt")).header
    assert (header["network"], header["seeds"]) == ({"_target_": "x"}, {"init": 3})


def test_a_damaged_ticket_is_not_taken_for_weights(files):
    Ticket(MASKS, net().state_dict()).save(files / "t.safetensors")
    sound = bytearray((files / "t.safetensors").read_bytes())
    sound[-1] ^= 1
    (files / "t.safetensors").write_bytes(sound)
    with pytest.raises(ValueError, match="is damaged"):
        read(files / "t.safetensors")
