"""Exported files compute the outputs of the masked network, or are not written."""

import pytest
import torch

from lth.cli.ticket.command import main
from lth.experiment.load import load_level
from lth.networks.from_config import build
from lth.pruning import Masks
from lth.tickets import Ticket
from lth.tickets.export import _masked, csr, onnx, program
from tests.support.harness import train, usual
from tests.support.tiers import engine_but

NETS = {
    "mlp": {"widths": [24, 16], "classes": 4, "channels": 1, "image_size": 8},
    "resnet20": {"classes": 10, "channels": 3, "image_size": 8},
    "mobilenet_v1": {"classes": 10, "channels": 3, "image_size": 16},
    "conv2": {"classes": 4, "channels": 1, "image_size": 8},
}


def given(name):
    options = NETS[name]
    net = build({"_target_": f"lth.networks.{name}", **options})
    random = torch.Generator().manual_seed(0)
    for buffer_name, buffer in net.named_buffers():
        if buffer_name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=random) / 5)  # as after training
    masks = Masks.ones(net)
    for mask in masks.values():
        mask.copy_(torch.rand(mask.shape, generator=random) < 0.2)
    shape = (options["channels"], options["image_size"], options["image_size"])
    header = {"network": {"_target_": f"lth.networks.{name}", **options}}
    return Ticket(masks.bools(), net.state_dict(), header), net, shape


def outputs(ticket, net, images):
    net.load_state_dict(ticket.weights)
    Masks({n: m.float() for n, m in ticket.masks.items()}).apply_(net)
    with torch.no_grad():
        return net.eval()(images)


@pytest.mark.slow
@pytest.mark.parametrize("name", engine_but(["mlp", "resnet20"], "resnet20"))
def test_a_torch_export_program_runs_without_the_network(name, tmp_path):
    ticket, net, shape = given(name)
    said = program.write(ticket, tmp_path / "a.pt2", net, shape)
    assert "differ by" in said
    loaded = torch.export.load(tmp_path / "a.pt2").module()
    for n in (1, 3):
        images = torch.randn(n, *shape)
        assert torch.allclose(loaded(images), outputs(ticket, net, images), atol=1e-5)
    with pytest.raises(ValueError, match=r"a.pt must end in .pt2"):
        program.write(ticket, tmp_path / "a.pt", net, shape)


@pytest.mark.slow
@pytest.mark.parametrize("name", engine_but(["mlp", "resnet20"], "resnet20"))
def test_an_onnx_file_computes_the_same_in_onnxruntime(name, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    ticket, net, shape = given(name)
    onnx.write(ticket, tmp_path / "a.onnx", net, shape, "pixels / 255")
    session = runtime.InferenceSession(str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["inputs"] == "pixels / 255"
    for n in (1, 4):
        images = torch.randn(n, *shape)
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        assert torch.allclose(torch.from_numpy(logits), outputs(ticket, net, images), atol=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]


@pytest.mark.slow
def test_an_onnx_file_that_computes_something_else_is_never_left_behind(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    ticket, net, shape = given("mlp")
    other = Ticket({n: torch.ones_like(m) for n, m in ticket.masks.items()}, ticket.weights)
    export = torch.onnx.export
    wrong = _masked.masked_net(other, net)
    monkeypatch.setattr(torch.onnx, "export", lambda whole, *args, **options: export(wrong, *args, **options))
    with pytest.raises(ValueError, match="does not compute the outputs of the masked network"):
        onnx.write(ticket, tmp_path / "a.onnx", net, shape)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_names_the_extra(tmp_path):
    with pytest.raises(ImportError, match=r"ONNX needs no_such_thing: pip install 'lth\[export\]'"):
        onnx._needed("no_such_thing")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NETS))
def test_csr_computes_the_same_and_says_how_fast(name, tmp_path):
    ticket, net, shape = given(name)
    said = csr.write(ticket, tmp_path / "a.csr", net, shape, batch=3)
    assert "batch 3" in said
    assert "times the speed" in said
    sparse = csr.load(tmp_path / "a.csr", net)
    for n in (1, 5):
        images = torch.randn(n, *shape)
        with torch.no_grad():
            assert torch.allclose(sparse(images), outputs(ticket, net, images), atol=1e-4)
    kinds = {type(m).__name__ for m in sparse.modules()}
    assert ("_SparseConv2d" in kinds) == (name != "mlp")
    assert ("Conv2d" in kinds) == (name == "mobilenet_v1")  # depthwise convolutions stay dense


def test_a_csr_file_grows_with_what_is_kept(tmp_path):
    ticket, net, shape = given("mlp")
    csr.write(ticket, tmp_path / "a", net, shape)
    few = Ticket({n: m & (torch.rand(m.shape) < 0.1) for n, m in ticket.masks.items()}, ticket.weights)
    csr.write(few, tmp_path / "b", net, shape)
    saved = (tmp_path / "a").stat().st_size - (tmp_path / "b").stat().st_size
    assert saved == pytest.approx(8 * (ticket.kept - few.kept), abs=64)


def test_a_csr_file_of_another_network_is_refused(tmp_path):
    ticket, net, shape = given("mlp")
    csr.write(ticket, tmp_path / "a", net, shape)
    with pytest.raises(ValueError, match="does not fit ResNet: names or shapes differ"):
        csr.load(tmp_path / "a", given("resnet20")[1])
    ticket.save(tmp_path / "t")
    with pytest.raises(ValueError, match="is not a CSR file of lth"):
        csr.load(tmp_path / "t", net)


def test_strided_dilated_and_padded_convolutions_are_the_same_as_csr():
    kinds = {"stride": 2}, {"padding": (2, 1)}, {"dilation": 2, "bias": False}, {"stride": (1, 2), "padding": 1}
    for options in kinds:
        layer = torch.nn.Conv2d(3, 5, (3, 2), **options)
        parts = csr._csr(layer.weight.detach().flatten(1)).values()
        sparse = csr._SparseConv2d(layer, torch.sparse_csr_tensor(*parts, (5, 18), check_invariants=True))
        images = torch.randn(2, 3, 9, 8)
        assert torch.allclose(sparse(images), layer(images), atol=1e-5)


@pytest.mark.slow
def test_the_command_exports_every_format_a_network_needs(tmp_path, capsys):
    ticket, *_ = given("mlp")
    ticket.save(tmp_path / "t.safetensors")
    for kind, name in (("torch_export", "a.pt2"), ("csr", "a.csr"), ("state_dict", "a.pt"), ("masks", "a.masks")):
        main(["export", str(tmp_path / "t.safetensors"), "--format", kind, "--out", str(tmp_path / name)])
        assert f"{name}: " in capsys.readouterr().out
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    assert all(torch.equal(state[n] != 0, m) for n, m in ticket.masks.items())
    alone = Ticket.load(tmp_path / "a.masks")
    assert (dict(alone.weights), alone.kept) == ({}, ticket.kept)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["imp", "str"])
def test_a_folder_gives_the_weights_with_which_its_level_ended(method, tmp_path, capsys):
    train(tmp_path / "run", *usual(method, tmp_path))
    level = sorted((tmp_path / "run").glob("level_*"))[-1]
    for source in (tmp_path / "run", level):
        main(["export", str(source), "--format", "state_dict", "--out", str(tmp_path / "a.pt")])
        assert "; trained weights of level" in capsys.readouterr().out
        state = torch.load(tmp_path / "a.pt", weights_only=True)
        assert all(torch.equal(state[name], value) for name, value in load_level(level).net.state_dict().items())
    for source in (tmp_path / "run", level, level / "ticket.safetensors"):
        main(["export", str(source), "--format", "torch_export", "--out", str(tmp_path / "a.pt2")])
        assert "; images: pixels / 255, minus 0.5, over 0.25" in capsys.readouterr().out
    main(["export", str(level / "ticket.safetensors"), "--format", "state_dict", "--out", str(tmp_path / "b.pt")])
    assert "these are starting weights" in capsys.readouterr().out
    start = torch.load(tmp_path / "b.pt", weights_only=True)
    assert not any(torch.equal(start[name], state[name]) for name in Ticket.load(level / "ticket.safetensors").masks)
    with pytest.raises(SystemExit, match="--complete writes starting weights: give a ticket"):
        main(["export", str(level), "--complete", "--out", str(tmp_path / "c.safetensors")])


def test_a_format_that_needs_the_network_says_so(tmp_path):
    ticket, *_ = given("mlp")
    Ticket(ticket.masks, ticket.weights).save(tmp_path / "t")
    with pytest.raises(SystemExit) as error:
        main(["export", str(tmp_path / "t"), "--format", "onnx", "--out", str(tmp_path / "a.onnx")])
    assert "--format onnx needs the network, which this ticket does not name" in str(error.value.code)
