"""Files of Synaptic-Flow, made here with the names that its networks have: read, named as lth's, trained from."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lth import networks
from lth.pruning.masks import Masks, fingerprint
from lth.tickets import Ticket
from lth.tickets.layouts import LAYOUTS
from tests.support.commands import lth
from tests.support.harness import train
from tests.support.left import rows

read = LAYOUTS["synflow"].read
NETWORKS = {  # network of lth -> rules that make the names of Synaptic-Flow of its names
    "vgg16": [(r"^classifier", "fc")],
    "resnet18": [
        (r"^conv1\.", "conv1.0."),
        (r"^bn1\.", "conv1.1."),
        (r"^layer(\d)\.", lambda m: f"conv{int(m[1]) + 1}_x."),
        (r"\.conv1\.", ".residual_function.0."),
        (r"\.bn1\.", ".residual_function.1."),
        (r"\.conv2\.", ".residual_function.3."),
        (r"\.bn2\.", ".residual_function.4."),
        (r"shortcut\.conv", "shortcut.0"),
        (r"shortcut\.bn", "shortcut.1"),
        (r"^classifier", "fc"),
    ],
    "resnet20": [
        (r"^conv1\.", "conv."),
        (r"^bn1\.", "bn."),
        (r"^layer(\d)\.(\d)", lambda m: f"blocks.{3 * (int(m[1]) - 1) + int(m[2])}"),
        (r"shortcut\.conv", "shortcut.0"),
        (r"shortcut\.bn", "shortcut.1"),
        (r"^classifier", "fc"),
    ],
    "resnet50": [(r"shortcut\.conv", "downsample.0"), (r"shortcut\.bn", "downsample.1"), (r"^classifier", "fc")],
}
VGG16 = [0, 1, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16]  # numbers of the convolutions: 2, 5, 9 and 13 pool


def theirs(network: str, name: str) -> str:
    """The name of Synaptic-Flow for a tensor of lth's network."""
    for pattern, new in NETWORKS[network]:
        name = re.sub(pattern, new, name)
    if network == "vgg16" and (match := re.match(r"stage(\d)\.(\d)", name)):
        before = [0, 2, 4, 7, 10][int(match[1]) - 1]
        name = f"layers.{VGG16[before + int(match[2])]}{name[match.end() :]}"
    return name


def small(network: str) -> nn.Module:
    """lth's network with a few channels, where it has widths."""
    torch.manual_seed(0)
    options = {"widths": (4, 6, 8, 10)} if network in ("resnet18", "resnet50") else {}
    net: nn.Module = getattr(networks, network)(classes=4, channels=1, image_size=8, **options)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
    return net


def written(path: Path, network: str, density: float = 0.3, **extra: Tensor) -> tuple[Path, nn.Module, dict]:
    """A file as Synaptic-Flow writes it, the network and the masks. Layers keep from 10 to 50 % of their weights."""
    net = small(network)
    random, masks, state = torch.Generator().manual_seed(1), {}, {}
    for index, (name, mask) in enumerate(Masks.ones(net).items()):
        share = density * (0.5 + index / len(Masks.ones(net)))
        masks[name] = torch.rand(mask.shape, generator=random) < share
    for name, value in net.state_dict().items():
        state[theirs(network, name)] = value
        if name.endswith(("weight", "bias")):
            state[f"{theirs(network, name)}_mask"] = masks.get(name, torch.ones_like(value)).float()
    torch.save({**state, **extra}, path)
    return path, net, masks


def test_the_names_made_here_are_those_of_synaptic_flow():
    names = [theirs("vgg16", name) for name in small("vgg16").state_dict()]
    assert names[0] == "layers.0.conv.weight"
    assert "layers.16.bn.running_var" in names
    assert names[-2:] == ["fc.weight", "fc.bias"]
    assert theirs("resnet18", "layer2.0.shortcut.bn.bias") == "conv3_x.0.shortcut.1.bias"
    assert theirs("resnet20", "layer3.2.bn2.weight") == "blocks.8.bn2.weight"


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_masks_and_weights_are_read_under_the_names_of_lth(network, tmp_path: Path):
    path, net, masks = written(tmp_path / "model.pt", network)
    ticket = read(path)
    assert list(ticket.masks) == list(masks)
    assert fingerprint(ticket.masks) == fingerprint(masks)
    assert fingerprint(ticket.weights) == fingerprint(net.state_dict())


@pytest.mark.slow
def test_biases_before_batch_norm_go_into_its_running_mean(tmp_path: Path):
    _, net, _ = written(tmp_path / "plain.pt", "vgg16")
    with_bias = small("vgg16")
    extra = {}
    for name, module in with_bias.named_modules():
        if isinstance(module, nn.Conv2d):
            module.bias = nn.Parameter(torch.randn(module.out_channels))
            extra[theirs("vgg16", f"{name}.bias")] = module.bias.data
            extra[theirs("vgg16", f"{name}.bias_mask")] = torch.ones(module.out_channels)
    path, *_ = written(tmp_path / "model.pt", "vgg16", **extra)
    net.load_state_dict(dict(read(path).weights))
    image = torch.randn(2, 1, 8, 8)
    assert torch.allclose(net.eval()(image), with_bias.eval()(image), atol=1e-5)


def test_factors_on_identity_shortcuts_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    name = "blocks.0.shortcut.weight"
    scale = {name: torch.ones(16, 1, 1), f"{name}_mask": torch.ones(16, 1, 1)}
    path, _, masks = written(tmp_path / "ones.pt", "resnet20", **scale)
    assert list(read(path).masks) == list(masks)
    assert "left out" not in caplog.text
    path, *_ = written(tmp_path / "trained.pt", "resnet20", **{**scale, name: torch.full((16, 1, 1), 1.1)})
    assert read(path).header["import"]["left_out"] == [name]
    assert "left out" in caplog.text
    path, *_ = written(tmp_path / "pruned.pt", "resnet20", **{**scale, f"{name}_mask": torch.zeros(16, 1, 1)})
    with pytest.raises(ValueError, match="identity shortcuts are pruned"):
        read(path)


@pytest.mark.slow
def test_pruned_biases_are_refused_and_other_networks_keep_their_names(tmp_path: Path):
    path, *_ = written(tmp_path / "biases.pt", "vgg16", **{"fc.bias_mask": torch.zeros(4)})
    with pytest.raises(ValueError, match=r"pruned, but are not prunable weights: \['classifier.bias'\]"):
        read(path)
    state = {"features.0.weight": torch.ones(2, 3, 1, 1), "features.0.weight_mask": torch.ones(2, 3, 1, 1)}
    torch.save(state, tmp_path / "other.pt")
    assert list(read(tmp_path / "other.pt").masks) == ["features.0.weight"]


@pytest.mark.slow
def test_the_starting_weights_may_have_a_file_of_their_own(tmp_path: Path):
    path, _, masks = written(tmp_path / "model.pt", "vgg16")
    torch.manual_seed(7)
    other = networks.vgg16(classes=4, channels=1, image_size=8)
    torch.save({theirs("vgg16", name): value for name, value in other.state_dict().items()}, tmp_path / "start.pt")
    ticket = read(path, weights=tmp_path / "start.pt")
    assert fingerprint(ticket.masks) == fingerprint(masks)
    assert fingerprint(ticket.weights) == fingerprint(other.state_dict())


SMALL = ("dataset.image_size=8", "dataset.channels=1", "dataset.classes=4", "recipe.epochs=1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "method"),
    [("vgg16", "er_synflow"), *(("resnet18", method) for method in ("er_synflow", "er_imp", "random_of_ticket"))],
)
def test_random_nets_have_the_layer_densities_of_an_imported_file(network, method, tmp_path: Path):
    path, _, masks = written(tmp_path / "model.pt", network)
    result = lth("ticket", "import", str(path), "--from", "synflow", "--out", str(tmp_path / "t.safetensors"))
    assert result.returncode == 0, result.stderr
    ticket = Ticket.load(tmp_path / "t.safetensors")
    widths = ["+model.widths=[4,6,8,10]"] if network == "resnet18" else []
    options = [f"method={method}"] if method != "random_of_ticket" else ["method=erk", "method/allocation=from_ticket"]
    chosen = [*options, f"model={network}", *widths, f"ticket={tmp_path / 't.safetensors'}", *SMALL]
    train(tmp_path / "run", *chosen, f"sparsity.density={ticket.density}")
    trained = Ticket.load(tmp_path / "run" / f"level_00_density_{ticket.density:.4g}" / "ticket.safetensors")
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    assert {name: int(mask.sum()) for name, mask in trained.masks.items()} == counts
    assert any(not torch.equal(trained.masks[name], mask) for name, mask in masks.items())
    assert rows(tmp_path / "run")[-1]["kept"] == str(sum(counts.values()))


@pytest.mark.slow
def test_layers_of_other_names_are_taken_in_order_where_their_shapes_agree(tmp_path: Path):
    net = small("resnet18")
    masks = {name: torch.rand(mask.shape) < 0.3 for name, mask in Masks.ones(net).items()}
    foreign = {f"theirs.{index}.weight": mask for index, mask in enumerate(masks.values())}
    Ticket(foreign, {name: mask.float() for name, mask in foreign.items()}).save(tmp_path / "t.safetensors")
    chosen = ("model=resnet18", "+model.widths=[4,6,8,10]", f"ticket={tmp_path / 't.safetensors'}", *SMALL)
    density = sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
    train(tmp_path / "run", "method=er_imp", *chosen, f"sparsity.density={density}")
    (file,) = (tmp_path / "run").glob("level_*/ticket.safetensors")
    kept = [int(mask.sum()) for mask in Ticket.load(file).masks.values()]
    assert kept == [int(mask.sum()) for mask in masks.values()]
    with pytest.raises(ValueError, match="do not fit the network"):
        train(tmp_path / "other", "method=er_imp", f"ticket={tmp_path / 't.safetensors'}", "sparsity.density=0.3")
