"""Layer allocations against the reference numbers of their papers, computed again."""

import json
import math
from functools import partial

import pytest
import torch

from lth import networks
from lth.pruning import Masks, allocation, criteria, prune
from lth.pruning.allocation.counts import amount, available
from lth.pruning.ladder import geometric
from tests.support.shapes import R18, R20, zeros

EXACT = {
    "uniform": allocation.uniform,
    "erk": allocation.erk,
    "er": allocation.er,
    "balanced": allocation.balanced,
    "pyramid": allocation.pyramid,
    "smart_ratio": allocation.smart_ratio,
}


def size(scores) -> int:
    return sum(score.numel() for score in scores.values())


def realised(counts, scores) -> float:
    return sum(counts.values()) / size(scores)


def constant(scores, shares, density) -> tuple[float, set[str]]:
    """The factor on the shares of layers that are not full, and the full ones."""
    real = allocation.fill(shares, density * size(scores), available(scores))
    full = {n for n in scores if real[n] == scores[n].numel()}
    return next(real[n] / shares[n] for n in scores if n not in full), full


def erk_shares(scores):
    return {n: float(sum(s.shape)) for n, s in scores.items()}


def er_shares(scores):
    return {n: s.numel() * (s.shape[0] + s.shape[1]) / (s.shape[0] * s.shape[1]) for n, s in scores.items()}


# network, density, ERK epsilon and dense layers, ER likewise, published ERK, balanced X and dense, clip, sequential
TABLE = [
    (R18, 0.5, 820.382429, 14, 93.097005, 13, 0.388625, 668840.00, 17, 0.265934, 0.420582),
    (R18, 0.1, 131.961867, 4, 16.702601, 2, 0.091611, 70859.32, 8, 0.079395, 0.093188),
    (R18, 0.05, 64.023762, 3, 8.311521, 1, 0.047093, 30176.53, 3, 0.044204, 0.047615),
    (R20, 0.5, 101.055258, 11, 12.024167, 10, 0.420586, 11217.33, 16, 0.331448, 0.452047),
    (R20, 0.1, 16.985986, 2, 2.247540, 0, 0.096742, 1342.40, 3, 0.092211, 0.097120),
    (R20, 0.05, 8.203998, 0, 1.123770, 0, 0.050000, 630.04, 2, 0.048939, 0.049937),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{len(row[0])} layers at {row[1]}")
def test_the_allocation_constants_are_the_published_ones(row):
    scores, density, erk, erk_full, er, er_full, erk_clip, level, level_full, clip, sequential = row
    found, full = constant(scores, erk_shares(scores), density)
    assert (found, len(full)) == (pytest.approx(erk, abs=1e-5), erk_full)
    found, full = constant(scores, er_shares(scores), density)
    assert (found, len(full)) == (pytest.approx(er, abs=1e-5), er_full)
    found, full = constant(scores, dict.fromkeys(scores, 1.0), density)
    assert (found, len(full)) == (pytest.approx(level, abs=0.01), level_full)
    one = 3 / size(scores) + 5e-7  # whole counts stand for real shares, and six digits are printed
    assert realised(allocation.erk(scores, density, as_published="clip"), scores) == pytest.approx(erk_clip, abs=one)
    assert realised(allocation.balanced(scores, density, as_published="clip"), scores) == pytest.approx(clip, abs=one)
    counts = allocation.balanced(scores, density, as_published="sequential")
    assert realised(counts, scores) == pytest.approx(sequential, abs=one)


def test_erk_fills_the_layers_and_gives_the_densities_published_for_resnet_18():
    counts = allocation.erk(R18, 0.05)
    dense = {name for name, count in counts.items() if count == R18[name].numel()}
    assert dense == {"conv1.weight", "layer2.0.shortcut.conv.weight", "classifier.weight"}
    density = {name: count / R18[name].numel() for name, count in counts.items()}
    assert density["layer4.1.conv2.weight"] == pytest.approx(0.027951, abs=1e-6)
    assert density["layer3.0.shortcut.conv.weight"] == pytest.approx(0.754186, abs=2e-5)
    assert sum(counts.values()) == 558_218


def test_erk_counts_of_resnet_20_are_the_published_ones():
    counts = allocation.erk(R20, 0.05)
    assert sum(counts.values()) == 13_545
    expected = [205, *[312] * 6, 443, 574, 410, *[574] * 4, 837, 1100, 804, 1100, 1099, 1099, 1099, 607]
    assert list(counts.values()) == expected


PYRAMID = [(R18, 0.5, 0.95862621), (R18, 0.1, 0.86204095), (R18, 0.05, 0.81836651), (R20, 0.05, 0.79791679)]


@pytest.mark.parametrize(("scores", "density", "rate"), PYRAMID)
def test_pyramid_densities_are_powers_of_the_published_rate(scores, density, rate):
    counts = allocation.pyramid(scores, density)
    for depth, (name, count) in enumerate(counts.items(), start=1):
        assert count == pytest.approx(scores[name].numel() * rate**depth, abs=1.01)
    assert list(allocation.pyramid(scores, 1.0).values()) == [s.numel() for s in scores.values()]


UNIFORM_PLUS = [(R18, 0.1, 0.099939), (R18, 0.05, 0.049969), (R20, 0.1, 0.099612), (R20, 0.05, 0.049810)]


@pytest.mark.parametrize(("scores", "density", "published"), UNIFORM_PLUS)
def test_uniform_plus_is_exact_unless_the_published_formula_is_asked_for(scores, density, published):
    counts = allocation.uniform_plus(scores, density)
    assert sum(counts.values()) == allocation.count_kept(density, size(scores))
    first, *_, head = counts
    assert counts[first] == scores[first].numel()
    assert counts[head] == pytest.approx(0.2 * scores[head].numel(), abs=1)
    short = allocation.uniform_plus(scores, density, as_published=True)
    assert realised(short, scores) == pytest.approx(published, abs=2 / size(scores) + 5e-7)


def test_smart_ratio_of_resnet_20_keeps_43_of_the_first_layer():
    scores = zeros(networks.resnet20, shortcut="pad")
    counts = allocation.smart_ratio(scores, 0.0144, as_published=True)
    assert counts["conv1.weight"] == 43
    assert 0 <= 0.0144 * size(scores) - sum(counts.values()) <= len(scores)
    head = 0.3 * scores["classifier.weight"].numel() / size(scores)
    with pytest.raises(ValueError, match="classifier"):
        allocation.smart_ratio(scores, head)


@pytest.mark.parametrize("as_published", [False, True])
def test_smart_ratio_with_ends_of_their_own_leaves_all_other_layers_as_they_were(as_published):
    scores = zeros(networks.resnet20, shortcut="pad")
    plain = allocation.smart_ratio(scores, 0.0144, as_published=as_published)
    ends = {"first": 0.345, "head": 0.259}
    counts = allocation.smart_ratio(scores, 0.0144, as_published=as_published, ends=ends)
    changed = {name: count for name, count in counts.items() if count != plain[name]}
    down = 0.345 * 432, 0.259 * 640  # 149.04, 165.76
    assert changed == {"conv1.weight": 149, "classifier.weight": int(down[1]) if as_published else 166}
    assert list(counts) == list(scores)
    one = allocation.smart_ratio(scores, 0.0144, as_published=as_published, ends={"head": 0.259})
    assert one == plain | {"classifier.weight": changed["classifier.weight"]}
    assert allocation.smart_ratio(scores, 0.0144, as_published=as_published, ends={}) == plain


def test_ends_that_are_none_or_hold_too_much_are_refused():
    scores = zeros(networks.resnet20, shortcut="pad")
    with pytest.raises(ValueError, match=r"no ends \['last'\]; they are \('first', 'head'\)"):
        allocation.smart_ratio(scores, 0.0144, ends={"last": 0.3})
    with pytest.raises(ValueError, match=r"did you mean 0.345"):
        allocation.smart_ratio(scores, 0.0144, ends={"first": 34.5})
    scores["conv1.weight"].flatten()[:400] = -torch.inf
    with pytest.raises(ValueError, match=r"ends.first=0.345 asks conv1.weight for 149 weights; it has 32 left"):
        allocation.smart_ratio(scores, 0.0144, ends={"first": 0.345})


SHAPES = {
    "mlp": zeros(networks.mlp, channels=1, image_size=8, widths=[256, 256]),
    "lenet_300_100": zeros(networks.lenet_300_100, channels=1, image_size=28),
    "lenet5": zeros(networks.lenet5, channels=1, image_size=28),
    "conv2": zeros(networks.conv2),
    "conv6": zeros(networks.conv6),
    "resnet20": R20,
    "resnet110": zeros(networks.resnet110),
    "wide_resnet_28_2": zeros(networks.wide_resnet_28_2),
    "resnet18": R18,
    "resnet50": zeros(networks.resnet50),
    "vgg16": zeros(networks.vgg16),
    "mobilenet_v1": zeros(networks.mobilenet_v1),
    "mobilenet_v2": zeros(networks.mobilenet_v2),
}


@pytest.mark.slow
@pytest.mark.parametrize("density", [0.5, 0.3, 0.1, 0.05, 0.01, 0.001])
@pytest.mark.parametrize("rule", EXACT)
def test_every_allocation_sums_to_the_density_on_every_network(rule, density):
    for name, scores in SHAPES.items():
        *_, head = scores.values()
        if rule == "smart_ratio" and density * size(scores) <= 0.3 * head.numel():
            with pytest.raises(ValueError, match="classifier"):
                EXACT[rule](scores, density)
            continue
        counts = EXACT[rule](scores, density)
        assert sum(counts.values()) == math.floor(density * size(scores) + 0.5), name
        assert all(0 <= counts[n] <= scores[n].numel() for n in scores)
        if rule in ("erk", "er", "balanced", "pyramid") and sum(counts.values()) >= len(scores):
            assert min(counts.values()) >= 1, name


@pytest.mark.parametrize("rule", ["uniform", "erk", "er", "balanced"])
def test_the_order_of_layers_does_not_matter(rule):
    forward = EXACT[rule](R20, 0.05)
    backward = EXACT[rule](dict(reversed(list(R20.items()))), 0.05)
    assert all(abs(forward[name] - backward[name]) <= 1 for name in R20)  # the last weight goes to the first of equals


def test_layer_densities_must_declare_their_unit_and_mean_the_same_in_each(tmp_path):
    layers = {name: 0.1 if "layer1" in name else 0.3 for name in R20}
    made = {}
    for unit, convert in {
        "density": lambda d: d,
        "sparsity": lambda d: 1 - d,
        "percent_kept": lambda d: 100 * d,
    }.items():
        path = tmp_path / f"{unit}.json"
        path.write_text(json.dumps({"unit": unit, "layers": {n: convert(d) for n, d in layers.items()}}))
        made[unit] = allocation.from_densities(R20, 0.1, path=str(path))
    assert made["density"] == made["sparsity"] == made["percent_kept"]
    (tmp_path / "none.json").write_text(json.dumps({"layers": layers}))
    with pytest.raises(ValueError, match="must declare its unit"):
        allocation.from_densities(R20, 0.1, path=str(tmp_path / "none.json"))


@pytest.mark.parametrize("text", ["[]", '{"unit": "density"}', '{"unit": "density", "layers": {"a": "b"}}', "{"])
def test_a_file_that_holds_no_table_of_densities_is_refused_by_name(text, tmp_path):
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(ValueError, match=r"table\.json is no table"):
        allocation.from_densities(R20, 0.1, path=str(tmp_path / "table.json"))


def test_given_densities_are_matched_by_name_not_by_order():
    kept = {name: float(i + 1) for i, name in enumerate(reversed(list(R20)))}
    counts = allocation.in_proportion(R20, sum(kept.values()) / size(R20), kept=kept)
    assert all(counts[name] == kept[name] for name in R20)
    with pytest.raises(ValueError, match=r"missing \['conv1.weight'\]"):
        allocation.in_proportion(R20, 0.1, kept={n: v for n, v in kept.items() if n != "conv1.weight"})


def test_amount_is_real_and_counts_are_whole():
    assert amount(R20, 0.05) == pytest.approx(13_544.8)


LADDERS = [  # allocation and its published variant
    *((allocation.erk, "clip"), (allocation.erk, "clip_conv1d"), (allocation.er, "clip")),
    *((allocation.balanced, "clip"), (allocation.balanced, "sequential")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("allocate", "variant"), LADDERS, ids=lambda part: getattr(part, "__name__", part))
def test_a_published_allocation_goes_down_a_whole_ladder_and_no_layer_grows(allocate, variant):
    net = networks.resnet20(10, 3, 32)
    full, published = Masks.ones(net), partial(allocate, as_published=variant)
    masks = full
    for density in geometric(0.05, 0.2)[1:]:
        left = prune(net, masks, density, criteria.random, published, exact=False)
        wanted = published(full, density)
        assert all(abs(count - wanted[name]) <= 1 for name, count in left.kept_by_layer().items())
        assert all(bool((left[name] <= mask).all()) for name, mask in masks.items())
        masks = left


def test_published_counts_of_turboprune_on_resnet18():
    erk, balanced = (
        sum(allocate(R18, 0.8).values())
        for allocate in (
            partial(allocation.erk, as_published="clip_conv1d"),
            partial(allocation.balanced, as_published="sequential"),
        )
    )
    assert (erk, balanced) == (pytest.approx(6_355_241, abs=1), pytest.approx(7_075_245, abs=1))
