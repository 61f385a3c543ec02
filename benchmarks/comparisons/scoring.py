"""Pruning a ResNet-18 at initialisation, and each part of it alone, whose ratio is its fraction of the time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.clock import timed
from benchmarks.interleave import Arm, Comparison
from benchmarks.setting import Setting
from lth import networks
from lth.pruning import Masks, allocation, criteria, prune
from lth.pruning._flow import absolute, flow_gradients
from lth.pruning.criterion import Batches, Criterion

DENSITY = 0.01
ROUNDS = 100
SAMPLE = 10  # rounds timed for a part; its seconds are scaled to all rounds
REST = "snapshot and ranking"


@dataclass
class Images(Batches):
    """Random images for scoring, ten of each of ten classes."""

    x: Tensor
    y: Tensor
    image_shape: tuple[int, int, int]
    classes: int = 10

    def draw(self, n: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images, `n` times."""
        return iter([(self.x, self.y)] * n)

    def per_class(self, k: int) -> tuple[Tensor, Tensor]:
        """All images, for every `k`."""
        return self.x, self.y


def comparisons(setting: Setting) -> Iterator[Comparison]:
    """SynFlow in two precisions and SNIP, on images of CIFAR's shape; on a ResNet-20 if quick."""
    torch.manual_seed(0)
    size = 8 if setting.quick else 32
    build = networks.resnet20 if setting.quick else networks.resnet18
    net = build(classes=10, channels=3, image_size=size).to(setting.device)
    x, y = torch.randn(100, 3, size, size), torch.arange(100) % 10
    images = Images(x.to(setting.device), y.to(setting.device), (3, size, size))
    rounds = 2 if setting.quick else ROUNDS
    for dtype, seconds in (("float32", 15), ("float64", 30)):
        title = f"SynFlow, {rounds} rounds of a {build.__name__}, {dtype}"
        arms = synflow_arms(net, images, dtype, rounds, setting)
        yield Comparison(title, arms, aim=f"lth under {seconds} s on one core; ratios are fractions of it")
    arms = snip_arms(net, images, setting)
    yield Comparison(f"SNIP of a {build.__name__}, {len(images.x)} images", arms, aim="ratios are fractions of lth")


def synflow_arms(net: nn.Module, images: Images, dtype: str, rounds: int, setting: Setting) -> list[Arm]:
    """The arms of SynFlow: all rounds, and each part of them."""
    masks = Masks.ones(net)
    state = absolute(net, masks, getattr(torch, dtype), "eval")
    weights = {name: state[name] for name in masks}
    sample = min(SAMPLE, rounds)

    def network() -> dict[str, Tensor]:
        return flow_gradients(net, state, weights, images.image_shape)

    gradients = network()

    def products() -> None:
        absolute(net, masks, getattr(torch, dtype), "eval")
        for name, weight in weights.items():
            gradients[name].mul_(weight).abs_().clamp_(max=1.0)  # repeated products would overflow

    def part(work: Callable[[], object]) -> Callable[[], float]:
        return lambda: rounds / sample * timed(lambda: [work() for _ in range(sample)], setting.device)

    synflow = partial(criteria.synflow, dtype=dtype)
    ready = {name: gradient.abs() for name, gradient in network().items()}
    rest = partial(pruned, net, masks, lambda *_: ready, images, sample)
    return [
        Arm("lth", partial(timed, partial(pruned, net, masks, synflow, images, rounds), setting.device)),
        Arm("forward and backward", part(network)),
        Arm("copies and products", part(products)),
        Arm(REST, lambda: rounds / sample * timed(rest, setting.device)),
    ]


def snip_arms(net: nn.Module, images: Images, setting: Setting) -> list[Arm]:
    """The arms of SNIP: its one round, and each part of it."""
    masks = Masks.ones(net)
    ready = {name: weight.detach().abs() for name, weight in zip(masks, masks.weights(net), strict=True)}

    def network() -> None:
        net.train()
        loss = nn.functional.cross_entropy(net(images.x), images.y)
        torch.autograd.grad(loss, masks.weights(net))

    ways: dict[str, Callable[[], object]] = {
        "lth": partial(pruned, net, masks, criteria.snip, images, 1),
        "forward and backward": network,
        REST: partial(pruned, net, masks, lambda *_: ready, images, 1),
    }
    return [Arm(name, partial(timed, way, setting.device)) for name, way in ways.items()]


def pruned(net: nn.Module, masks: Masks, criterion: Criterion, images: Images, rounds: int) -> Masks:
    """Masks of the globally largest scores."""
    return prune(net, masks, DENSITY, criterion, allocation.global_, images, rounds=rounds)
