"""Every network of docs/networks.yaml is counted and listed; of those that differ in size, the smallest is trained."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torchvision import models

from docs.networks import Entry, entries, refused, row, usual
from lth.analysis.layers import layer_table
from lth.experiment._checks import check_pruned_stay_zero
from lth.experiment._standardised import standardised
from lth.networks import timm_model, torchvision_model
from lth.pruning import Masks, allocation, criteria, prunable, prune
from lth.pruning.masks import zero_
from lth.tickets import Ticket
from tests.support.drawn_fast import DrawnFast
from tests.support.harness import train

FACTORIES = {"torchvision": torchvision_model, "timm": timm_model}
# Smallest network -> networks that differ from it only in width and depth. The smallest is pruned and trained. The
# weights of the others are counted, and a test shows that they consist of the same kinds of modules.
LARGER = {
    "convnext_tiny": ("convnext_small", "convnext_base", "convnext_large"),
    "densenet121": ("densenet161", "densenet169", "densenet201"),
    "efficientnet_b0": tuple(f"efficientnet_b{number}" for number in range(1, 8)),
    "efficientnet_v2_s": ("efficientnet_v2_m", "efficientnet_v2_l"),
    "mnasnet0_5": ("mnasnet0_75", "mnasnet1_0", "mnasnet1_3"),
    "mobilenet_v3_small": ("mobilenet_v3_large",),
    "regnet_x_400mf": tuple(f"regnet_x_{size}" for size in ("800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")),
    "regnet_y_400mf": tuple(f"regnet_y_{size}" for size in ("800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf", "128gf")),
    "resnet18": ("resnet34",),
    "resnet50": ("resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2"),
    "resnext50_32x4d": ("resnext101_32x8d", "resnext101_64x4d"),
    "shufflenet_v2_x0_5": ("shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0"),
    "squeezenet1_1": ("squeezenet1_0",),
    "swin_t": ("swin_s", "swin_b"),
    "swin_v2_t": ("swin_v2_s", "swin_v2_b"),
    "vgg11": ("vgg13", "vgg16", "vgg19"),
    "vgg11_bn": ("vgg13_bn", "vgg16_bn", "vgg19_bn"),
    "vit_b_32": ("vit_b_16", "vit_l_16", "vit_l_32", "vit_h_14"),
}
BY_NAME = {entry.name: entry for entry in reversed(entries())}  # torchvision's come first
SMALLEST = {name: BY_NAME[first] for first, names in LARGER.items() for name in names}
TRAINED = [entry for entry in entries() if entry.library == "timm" or entry.name not in SMALLEST]
PAGE = (Path(__file__).parents[2] / "docs" / "networks.md").read_text().splitlines()
PROJECTIONS = "in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"


@pytest.fixture(scope="module", autouse=True)
def group() -> Iterator[None]:
    """A process group of one, without ports or environment variables: DDP's rules hold in it too."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def build(entry: Entry) -> nn.Module:
    torch.manual_seed(0)
    with DrawnFast():
        return FACTORIES[entry.library](
            entry.name, classes=10, channels=3, image_size=entry.image_size, options=entry.options
        )


def slow_count(net: nn.Module) -> int:
    """Prunable weights by looking at every layer, without lth."""
    weights: dict[int, int] = {}
    for layer in net.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            weights[id(layer.weight)] = layer.weight.numel()
        if isinstance(layer, nn.RNNBase):
            weights |= {id(p): p.numel() for name, p in layer.named_parameters() if name.startswith("weight")}
        if isinstance(layer, nn.MultiheadAttention):
            found = (getattr(layer, name) for name in PROJECTIONS)
            weights |= {id(weight): weight.numel() for weight in found if weight is not None}
    return sum(weights.values())


def halve_(net: nn.Module, masks: Masks) -> None:
    """Prune half of the weights, by global magnitude where that is quick."""
    if masks.total < 4_000_000:
        masks.copy_(prune(net, masks, 0.5, criteria.magnitude, allocation.global_))
    else:
        for mask in masks.values():
            mask.view(-1)[::2] = 0
    masks.apply_(net)
    assert masks.density == pytest.approx(0.5, abs=0.01)


def without_gradient_after_a_step(entry: Entry, net: nn.Module, masks: Masks, x: torch.Tensor) -> list[str]:
    """One step under DDP, masked as `KeptWeights` masks it; names of the trainable parameters that got no gradient."""
    weights, kept = masks.weights(net), list(masks.values())
    wrapped = DistributedDataParallel(
        net.train(), gradient_as_bucket_view=True, find_unused_parameters=entry.unused, broadcast_buffers=True
    )
    loss = cross_entropy(wrapped(x), torch.tensor([1, 2]))
    loss.backward()
    assert torch.isfinite(loss)
    idle = [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
    reached = [(w.grad, m) for w, m in zip(weights, kept, strict=True) if w.grad is not None]
    zero_([grad for grad, _ in reached], [mask for _, mask in reached])
    torch.optim.SGD(net.parameters(), lr=1e-3, weight_decay=1e-2).step()
    zero_(weights, kept)
    assert not any((weight.bool() & ~mask.bool()).any() for weight, mask in zip(weights, kept, strict=True))
    if entry.unused:  # the forward pass in which DDP would report gradients that are missing from the step before
        cross_entropy(wrapped(x), torch.tensor([1, 2])).backward()
    return idle


def check(entry: Entry) -> None:
    net, image = build(entry), (3, entry.image_size, entry.image_size)
    masks = Masks.ones(net)
    assert masks.total == slow_count(net)
    x = torch.randn(2, *image)
    with torch.no_grad():
        original = net.eval()(x)
        masks.apply_(net)
        assert torch.equal(net(x), original)
    if masks.total < 100_000_000:
        assert standardised(net, masks, image) == []
    halve_(net, masks)
    if masks.total < 4_000_000:
        assert [line["kept"] for line in layer_table(net, masks, image)] == list(masks.kept_by_layer().values())
    assert bool(without_gradient_after_a_step(entry, net, masks, x)) == entry.unused


@pytest.mark.engine
@pytest.mark.parametrize("entry", TRAINED, ids=str)
def test_masks_cover_it_leave_it_as_it_was_and_train_it_under_ddp(entry: Entry):
    check(entry)


@pytest.mark.engine
@pytest.mark.parametrize("entry", entries(), ids=str)
def test_its_weights_are_counted_and_listed_and_its_modules_are_of_kinds_that_are_trained(entry: Entry):
    net = usual(entry)
    assert sum(weight.numel() for weight in prunable(net).values()) == slow_count(net)
    assert row(entry, net) in PAGE, "run: python -m docs.networks > docs/networks.md"
    if entry not in TRAINED:
        assert kinds_of_modules(net) == kinds_of_modules(usual(SMALLEST[entry.name]))
        assert entry.unused == SMALLEST[entry.name].unused


def kinds_of_modules(net: nn.Module) -> set[tuple[Any, ...]]:
    """Return the classes of a network's modules, those of layers with their `traits`."""
    return {(type(module), *traits(module)) for module in net.modules() if not isinstance(module, nn.Identity)}


def traits(module: nn.Module) -> tuple[Any, ...]:
    """Return what distinguishes layers of one class, apart from their sizes."""
    if isinstance(module, nn.Conv2d):
        groups = "one" if module.groups == 1 else "depthwise" if module.groups == module.in_channels else "several"
        pointwise, dilated = max(module.kernel_size) == 1, max(module.dilation) > 1
        return groups, pointwise, dilated, module.padding_mode, module.bias is not None
    if isinstance(module, nn.Linear):
        return (module.bias is not None,)
    if isinstance(module, nn.MultiheadAttention):
        return (module.in_proj_weight is not None,)
    return ()


def test_the_list_has_every_classifier_of_torchvision_and_many_of_timm():
    assert [e.name for e in entries() if e.library == "torchvision"] == sorted(models.list_models(module=models))
    assert sum(e.library == "timm" for e in entries()) >= 60
    assert {e.group for e in entries()} == {"all", "convolutional", "transformers", "mixers", "hybrids"}


BY_HAND = {  # 1000 classes, 224 pixels: conv and linear weights from the definitions in the papers
    "alexnet": 23_232 + 307_200 + 663_552 + 884_736 + 589_824 + 256 * 36 * 4096 + 4096 * 4096 + 4096 * 1000,
    "vgg16": 14_710_464 + 512 * 49 * 4096 + 4096 * 4096 + 4096 * 1000,
    "resnet18": 11_678_912,
    "resnet50": 25_502_912,
    "mobilenet_v2": 3_504_872 - 34_112 - 1000,  # all, without batch norm and the bias
    "densenet121": 7_978_856 - 83_648 - 1000,
    "vit_b_16": 16 * 16 * 3 * 768 + 12 * (4 + 8) * 768**2 + 768 * 1000,  # in_proj 3, out_proj 1, MLP 8
    "deit_tiny_patch16_224": 16 * 16 * 3 * 192 + 12 * (4 + 8) * 192**2 + 192 * 1000,
    "mixer_s32_224": 32 * 32 * 3 * 512 + 8 * (2 * 49 * 256 + 2 * 512 * 2048) + 512 * 1000,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_HAND)
def test_totals_are_those_of_the_definitions(name: str):
    line = row(BY_NAME[name], usual(BY_NAME[name]))
    assert line.split("|")[3].strip() == f"{BY_HAND[name]:,}"


@pytest.mark.slow
@pytest.mark.parametrize("name", refused())
def test_networks_that_standardise_their_weights_are_refused_by_name(name: str):
    options = {"img_size": 32} if name.startswith("vit") else {}
    with DrawnFast():
        net = timm_model(name, 10, 3, 32, options=options)
    with pytest.raises(ValueError, match=r"transforms .* prunable weights .*weight.*prunable.exclude"):
        check_pruned_stay_zero(net, Masks.ones(net), (3, 32, 32))


THROUGH_THE_LOOP = {
    "timm test_vit": ["model=timm", "model.name=test_vit"],
    "timm starnet_s050": ["model=timm", "model.name=starnet_s050"],
    "timm mobilevit_xxs": ["model=timm", "model.name=mobilevit_xxs"],
    "timm gmlp_ti16_224": ["model=timm", "model.name=gmlp_ti16_224", "+model.options={img_size: 32}"],
    "torchvision squeezenet1_1": ["model=torchvision", "model.name=squeezenet1_1"],
}


@pytest.mark.slow
@pytest.mark.parametrize("network", THROUGH_THE_LOOP)
def test_a_network_of_each_kind_goes_through_a_whole_experiment(network: str, tmp_path: Path):
    data = ["dataset.channels=3", "dataset.image_size=32", "recipe.epochs=1", "recipe.lr=0.01"]
    train(tmp_path, *THROUGH_THE_LOOP[network], *data, "sparsity=list", "sparsity.densities=[0.5]")
    ticket = Ticket.load(tmp_path / "level_01_density_0.5" / "ticket.safetensors")
    assert ticket.density == pytest.approx(0.5, abs=1e-4)
