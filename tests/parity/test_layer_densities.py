"""Layer densities of random tickets, from their papers' formulas in exact fractions.

Erdos-Renyi: SET (arXiv 1707.04780), section 3; Erdos-Renyi-kernel with layers that stay dense: RigL (arXiv 1911.11134),
section 3; balanced and pyramid: arXiv 2210.02412; ERK and uniform with a dense first layer: arXiv 2202.02643;
SmartRatio: arXiv 2009.11094, section 4.
"""

import math
from fractions import Fraction

import pytest
import torch

from lth import networks
from lth.pruning import allocation
from tests.parity.plain import CONV, MLP, nearest
from tests.support.shapes import R18, R20, zeros

NETS = {"mlp": MLP, "conv": CONV, "resnet20": {n: tuple(t.shape) for n, t in R20.items()}}
NETS["resnet18"] = {n: tuple(t.shape) for n, t in R18.items()}
SCORES = {"resnet20": R20, "resnet18": R18}
DENSITIES = ["0.5", "0.3", "0.1", "0.05"]


def scores_of(net):
    return SCORES.setdefault(net, {name: torch.zeros(shape) for name, shape in NETS[net].items()})


def sizes_of(net):
    return {name: math.prod(shape) for name, shape in NETS[net].items()}


def whole(real: dict[str, Fraction], total: int) -> dict[str, int]:
    """Rounded down, then one more for the largest fractional parts until the total is reached; earlier layers first."""
    counts = {name: math.floor(value) for name, value in real.items()}
    waiting = sorted(real, key=lambda name: counts[name] - real[name])
    for name in waiting[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def epsilon_loop(sizes: dict[str, int], raw: dict[str, Fraction], density: Fraction) -> dict[str, Fraction]:
    """RigL's loop: the layer with the largest probability becomes dense as long as that probability exceeds 1."""
    dense: set[str] = set()
    while True:
        divisor = right = Fraction(0)
        for name, size in sizes.items():
            if name in dense:
                right -= (1 - density) * size
            else:
                right += density * size
                divisor += raw[name] * size
        epsilon = right / divisor
        largest = max(raw[name] for name in sizes if name not in dense)
        if epsilon * largest <= 1:
            return {n: Fraction(s) if n in dense else epsilon * raw[n] * s for n, s in sizes.items()}
        dense |= {name for name in sizes if raw[name] == largest}


def kernel(shape: tuple[int, ...]) -> Fraction:
    return Fraction(sum(shape), math.prod(shape))


def no_kernel(shape: tuple[int, ...]) -> Fraction:
    return Fraction(shape[0] + shape[1], shape[0] * shape[1])


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(("ours", "factor"), [(allocation.erk, kernel), (allocation.er, no_kernel)])
def test_erdos_renyi_is_rigls_loop(ours, factor, net, density):
    sizes, d = sizes_of(net), Fraction(density)
    real = epsilon_loop(sizes, {name: factor(shape) for name, shape in NETS[net].items()}, d)
    assert ours(scores_of(net), float(d)) == whole(real, nearest(d * sum(sizes.values())))


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("net", NETS)
def test_clipped_erk_loses_what_exceeds_one(net, density):
    sizes, d = sizes_of(net), Fraction(density)
    c = d * sum(sizes.values()) / sum(sum(shape) for shape in NETS[net].values())
    real = {name: min(Fraction(sizes[name]), c * sum(shape)) for name, shape in NETS[net].items()}
    expected = whole(real, nearest(sum(real.values())))
    assert allocation.erk(scores_of(net), float(d), as_published="clip") == expected


def water(sizes: dict[str, int], amount: Fraction) -> dict[str, Fraction]:
    """The same number in every layer; layers with fewer weights stay dense and the others share what they leave."""
    dense: set[str] = set()
    while True:
        level = (amount - sum(sizes[name] for name in dense)) / (len(sizes) - len(dense))
        new = {name for name in sizes if name not in dense and sizes[name] <= level}
        if not new or dense | new == set(sizes):
            return {name: Fraction(size) if name in dense else level for name, size in sizes.items()}
        dense |= new


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("net", NETS)
def test_balanced_fills_layers_like_water(net, density):
    sizes, d = sizes_of(net), Fraction(density)
    amount = d * sum(sizes.values())
    assert allocation.balanced(scores_of(net), float(d)) == whole(water(sizes, amount), nearest(amount))


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("net", NETS)
def test_sequential_balanced_gives_the_excess_to_later_layers(net, density):
    sizes, d = sizes_of(net), Fraction(density)
    level, real = d * sum(sizes.values()) / len(sizes), {}
    for index, (name, size) in enumerate(sizes.items()):
        if level < size:
            real[name] = level
        else:
            real[name] = Fraction(size)
            level += (level - size) / (len(sizes) - index)
    expected = whole(real, nearest(sum(real.values())))
    assert allocation.balanced(scores_of(net), float(d), as_published="sequential") == expected


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("net", NETS)
def test_clipped_balanced_redistributes_nothing(net, density):
    sizes, d = sizes_of(net), Fraction(density)
    level = d * sum(sizes.values()) / len(sizes)
    real = {name: min(level, Fraction(size)) for name, size in sizes.items()}
    expected = whole(real, nearest(sum(real.values())))
    assert allocation.balanced(scores_of(net), float(d), as_published="clip") == expected


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("net", NETS)
def test_pyramid_densities_are_powers_of_one_rate(net, density):
    sizes, d = sizes_of(net), float(density)
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        kept = sum(size * middle**depth for depth, size in enumerate(sizes.values(), start=1))
        low, high = (low, middle) if kept >= d * sum(sizes.values()) else (middle, high)
    real = {name: Fraction(size * high**depth) for depth, (name, size) in enumerate(sizes.items(), start=1)}
    expected = whole(real, nearest(d * sum(sizes.values())))
    assert allocation.pyramid(scores_of(net), d, at_least=0) == expected


@pytest.mark.parametrize("density", ["0.5", "0.2", "0.1"])
@pytest.mark.parametrize("net", ["resnet20", "resnet18"])
def test_uniform_plus_keeps_the_first_layer_and_a_fifth_of_the_head(net, density):
    sizes, d = sizes_of(net), Fraction(density)
    first, *hidden, head = sizes
    of_head = max(d, Fraction("0.2"))
    total = sum(sizes.values())
    rest = (d * total - sizes[first] - of_head * sizes[head]) / (total - sizes[first] - sizes[head])
    counts = allocation.uniform_plus(scores_of(net), float(d))
    assert sum(counts.values()) == nearest(d * total)
    assert counts[first] == sizes[first]
    assert counts[head] == nearest(of_head * sizes[head])
    assert all(abs(counts[name] - rest * sizes[name]) <= 1 for name in hidden)


def smart(sizes: dict[str, int], d: Fraction, vgg: bool) -> dict[str, int]:
    """Su et al.'s densities, the head at 0.3, and the overflow of full layers passed on, as whole numbers."""
    names, layers = list(sizes), len(sizes)
    by_depth = {}
    for depth, name in enumerate(names[:-1], start=1):
        height = layers - depth + 1
        by_depth[name] = Fraction(height**2 + height, depth**2 if vgg else 1)
    head = Fraction("0.3")
    scale = (d * sum(sizes.values()) - head * sizes[names[-1]]) / sum(sizes[n] * b for n, b in by_depth.items())
    p = {name: scale * b for name, b in by_depth.items()}
    surplus = 0
    for name in names[:-1]:
        if p[name] >= 1:
            surplus += int((p[name] - 1) * sizes[name])
            p[name] = Fraction(1)
        else:
            room = int((1 - p[name]) * sizes[name])
            if room >= surplus:
                p[name] += Fraction(surplus, sizes[name])
                surplus = 0
            else:
                surplus -= room
                p[name] = Fraction(1)
        if surplus == 0:
            break
    return {name: int(p.get(name, head) * size) for name, size in sizes.items()}


@pytest.mark.parametrize("vgg", [False, True])
@pytest.mark.parametrize("density", ["0.5", "0.2", "0.05", "0.0144"])
def test_smart_ratio_falls_quadratically_with_depth(density, vgg):
    sizes = sizes_of("resnet20")
    published = allocation.smart_ratio(R20, float(density), vgg=vgg, as_published=True)
    assert published == smart(sizes, Fraction(density), vgg)


@pytest.mark.parametrize("density", ["0.5", "0.2", "0.05", "0.0144"])
def test_smart_ratio_with_an_exact_total_gives_no_layer_more_than_what_rounding_lost(density):
    published = smart(sizes_of("resnet20"), Fraction(density), False)
    counts = allocation.smart_ratio(R20, float(density))
    assert sum(counts.values()) == nearest(Fraction(density) * sum(sizes_of("resnet20").values()))
    assert all(0 <= counts[name] - published[name] <= 2 for name in counts)


def test_smart_ratio_of_the_rare_gems_resnet20_keeps_43_weights_of_its_first_layer():
    published = allocation.smart_ratio(zeros(networks.resnet20, shortcut="pad"), 0.0144, as_published=True)
    assert next(iter(published.values())) == 43
