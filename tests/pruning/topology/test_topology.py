"""Drop and grow on layers small enough to check by hand, and the counts that every update conserves."""

from functools import partial

import pytest
import torch

from lth.pruning.topology import Layer, drop, grow, move, new_weights
from lth.pruning.topology.drop import below, smallest

WEIGHT = [[0.9, 0, -0.1], [0, 0.5, 0], [0.3, 0, 0]]
GRADIENT = [[0.1, 0.7, 0.8], [0.2, 0.1, 0.6], [0.4, 0.3, 0.05]]
EIGHT = [0.9, -0.8, 0.1, -0.2, 0.7, 0.0, 0.0, 0.0]
SLOPE = [0.1, 0.2, 5.0, 1.0, 0.1, 3.0, -4.0, 2.0]


def layer(weight, gradient=None, kept=None, allowed=None, ever=None, seed=0) -> Layer:
    """A layer; kept are the weights that are not zero, unless said otherwise."""
    weight = torch.as_tensor(weight)
    kept = weight != 0 if kept is None else torch.as_tensor(kept).bool()
    allowed = torch.ones_like(kept) if allowed is None else torch.as_tensor(allowed).bool()
    gradient = None if gradient is None else torch.as_tensor(gradient)
    ever = kept if ever is None else torch.as_tensor(ever).bool()
    return Layer(weight, kept, gradient, allowed, ever, torch.Generator().manual_seed(seed))


def moved(one: Layer, fraction: float, **how) -> torch.Tensor:
    """The layer's mask after an update: by magnitude and gradient unless said otherwise."""
    how = {"drop": smallest, "grow": grow.gradient} | how
    return move({"layer": one}, fraction, **how)["layer"]


def places(mask: torch.Tensor) -> list:
    found = mask.nonzero().tolist()
    return [tuple(place) if len(place) > 1 else place[0] for place in found]


def survivors(one: Layer, fraction: float, rule=smallest) -> list:
    return places(rule({"layer": one}, fraction, {"layer": one.active}, "layer")["layer"])


def test_the_worked_example_brings_a_dropped_weight_back():
    one = layer(WEIGHT, GRADIENT)
    assert survivors(one, 0.5) == [(0, 0), (1, 1)]
    assert places(moved(one, 0.5)) == [(0, 0), (0, 1), (0, 2), (1, 1)]


def test_the_worked_example_without_regrowing_what_was_dropped():
    assert places(moved(layer(WEIGHT, GRADIENT), 0.5, regrow_dropped=False)) == [(0, 0), (0, 1), (1, 1), (1, 2)]


def test_the_same_fraction_of_each_sign_is_dropped_closest_to_zero():
    weight = [0.1, 0.4, 0.6, 0.8, -0.05, -0.7]
    assert survivors(layer([*weight, 0.0, 0.0]), 0.5, partial(smallest, signs="apart")) == [2, 3, 5]


DROPS = {  # which of the kept five, at positions 0 to 4, are left when two go
    "magnitude": (smallest, [0, 1, 4]),
    "taylor": (partial(smallest, score=drop.taylor), [1, 2, 3]),
    "snip": (partial(smallest, score=drop.snip), [1, 2, 3]),
    "threshold": (partial(below, threshold=0.2), [0, 1, 4]),
    "ceil": (partial(smallest, rounding="ceil"), [0, 1, 4]),
    "signed": (partial(smallest, signs="apart"), [0, 1, 3, 4]),  # one of three, none of two
}


@pytest.mark.parametrize("rule", DROPS)
def test_drop_rules_on_eight_weights(rule: str):
    fraction = 0.39 if rule == "ceil" else 0.4
    assert survivors(layer(EIGHT, SLOPE), fraction, DROPS[rule][0]) == DROPS[rule][1]


def test_rounding_is_down_or_up_and_exact_where_the_product_is_whole():
    one = layer(torch.arange(1.0, 11), kept=torch.ones(10))
    gone = {
        r: [10 - len(survivors(one, z, partial(smallest, rounding=r))) for z in (0.3, 0.31)] for r in drop._ROUNDINGS
    }
    assert gone == {"floor": [3, 3], "ceil": [3, 4]}  # 0.3 * 10 is not quite 3 in floating point


def test_growth_by_gradient_on_eight_weights():
    assert places(moved(layer(EIGHT, SLOPE), 0.4)) == [0, 1, 2, 4, 6]  # 2 comes back, slope 5; then 6, slope -4


@pytest.mark.slow
def test_random_growth_is_exact_reaches_every_candidate_and_follows_its_seed():
    masks = [moved(layer(EIGHT, seed=seed), 0.4, grow=grow.random) for seed in range(60)]
    assert {int(mask.sum()) for mask in masks} == {5}
    assert all(mask[[0, 1, 4]].all() for mask in masks)
    assert torch.stack(masks).any(0).all()
    assert torch.equal(masks[7], moved(layer(EIGHT, seed=7), 0.4, grow=grow.random))


def test_random_growth_of_the_unfired_takes_them_first():
    never = torch.tensor([0, 0, 0, 0, 0, 1, 0, 1])
    for seed in range(20):
        mask = moved(layer(EIGHT, ever=1 - never, seed=seed), 0.4, grow=grow.random_unfired)
        assert places(mask) == [0, 1, 4, 5, 7]


def test_equal_gradients_grow_in_the_order_of_their_index():
    assert places(moved(layer(EIGHT, torch.ones(8)), 0.4)) == [0, 1, 2, 3, 4]


def test_noise_breaks_ties_in_another_way_for_every_seed():
    one = [layer([0.5] * 6 + [0.0] * 2, seed=seed) for seed in range(20)]
    noisy = partial(smallest, score=partial(drop.magnitude, noise=1e-5))
    assert len({tuple(survivors(s, 0.5, noisy)) for s in one}) > 1
    assert len({tuple(survivors(s, 0.5)) for s in one}) == 1


def random_layers(seed: int, **fields) -> dict[str, Layer]:
    """Three layers, of density a half, a tenth and one."""
    made = {}
    for index, (name, density) in enumerate({"a": 0.5, "b": 0.1, "dense": 1.0}.items()):
        random = torch.Generator().manual_seed(10 * seed + index)
        weight, gradient = torch.randn(2, 6, 10, generator=random)
        kept = torch.rand(6, 10, generator=random) < density
        own = {key: value.get(name) for key, value in fields.items()}
        made[name] = layer(weight * kept, gradient, kept=kept, seed=seed, **own)
    return made


GROWTHS = [grow.random, grow.gradient, grow.random_unfired]


@pytest.mark.parametrize("growth", GROWTHS, ids=lambda g: g.__name__)
@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("regrow", [True, False])
@pytest.mark.parametrize("signs", ["together", "apart"])
def test_every_update_conserves_the_counts_of_its_scope(growth, scope: str, regrow: bool, signs: str):
    for seed in range(10):
        layers = random_layers(seed)
        new = move(layers, 0.4, partial(smallest, signs=signs), growth, scope, regrow)
        assert sum(int(m.sum()) for m in new.values()) == sum(s.active for s in layers.values())
        if scope == "layer":
            assert {n: int(m.sum()) for n, m in new.items()} == {n: s.active for n, s in layers.items()}


def test_a_layer_at_density_one_is_left_alone():
    for scope in ("layer", "global"):
        assert move(random_layers(0), 0.5, smallest, grow.gradient, scope)["dense"].all()


def test_global_scope_moves_weights_to_the_layer_with_the_larger_gradients():
    layers = random_layers(0)
    layers["b"].gradient = layers["b"].gradient * 100
    new = move(layers, 0.3, smallest, grow.gradient, "global")
    assert int(new["b"].sum()) > layers["b"].active
    assert int(new["a"].sum()) < layers["a"].active


@pytest.mark.parametrize("signs", ["together", "apart"])
@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("fraction", [0.3, 0.9, 1.0])
def test_too_few_candidates_limit_what_is_dropped(fraction: float, scope: str, signs: str):
    """One free place, and dropped weights may not come back: one weight moves, whatever the fraction."""
    weight = torch.tensor([0.5, 0.4, 0.3, -0.2, -0.6, -0.7, 0.8, 0.0])
    new = moved(layer(weight, torch.ones(8)), fraction, drop=partial(smallest, signs=signs), scope=scope,
                regrow_dropped=False)  # fmt: skip
    assert int(new.sum()) == 7
    assert new[7]


def test_a_threshold_never_drops_more_than_can_grow():
    one = layer([0.1, 0.1, 0.1, 0.1, 0.0], torch.ones(5))
    new = moved(one, 0.3, drop=partial(below, threshold=0.2), regrow_dropped=False)
    assert places(new) == [0, 1, 2, 4]


def test_nothing_grows_where_it_is_not_allowed():
    allowed = torch.tensor([1, 1, 1, 1, 1, 1, 0, 0])
    assert places(moved(layer(EIGHT, SLOPE, allowed=allowed), 0.4)) == [0, 1, 2, 4, 5]


def test_a_layer_that_fills_its_allowed_places_is_left_alone():
    one = layer(EIGHT, SLOPE, allowed=torch.tensor([1, 1, 1, 1, 1, 0, 0, 0]))
    assert torch.equal(moved(one, 0.4), one.kept)


def test_a_score_without_the_gradient_it_needs_is_refused():
    with pytest.raises(ValueError, match="needs the dense gradient"):
        moved(layer(EIGHT), 0.4)


@pytest.mark.parametrize("how", [{"rounding": "half"}, {"signs": "both"}])
def test_unknown_ways_to_drop_are_refused(how: dict):
    with pytest.raises(ValueError, match="is not one of"):
        survivors(layer(EIGHT), 0.4, partial(smallest, **how))


def test_an_unknown_scope_is_refused():
    with pytest.raises(ValueError, match=r"'row' is not one of \('layer', 'global'\)"):
        moved(layer(EIGHT, SLOPE), 0.4, scope="row")


def test_what_new_weights_start_from():
    one = layer(EIGHT, SLOPE)
    assert not new_weights.zeros(one).any()
    assert torch.equal(new_weights.gradient(one, divisor=2.0), torch.tensor(SLOPE) / 2)
    assert torch.equal(new_weights.gradient_sign(one), torch.tensor(SLOPE).sign())


@pytest.mark.parametrize("draw", [new_weights.normal, new_weights.uniform])
def test_drawn_new_weights_have_the_spread_of_the_kept_ones(draw):
    weight = torch.randn(200, 200, generator=torch.Generator().manual_seed(0)) * 0.3
    kept = torch.rand(200, 200, generator=torch.Generator().manual_seed(1)) < 0.1
    values = draw(layer(weight * kept, kept=kept), divisor=2.0)
    assert float(values.std()) == pytest.approx(0.15, rel=0.05)
    assert abs(float(values.mean())) < 0.01
