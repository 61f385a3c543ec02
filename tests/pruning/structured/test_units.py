"""Units divide a weight as their names say, and every element has exactly one unit."""

from functools import partial

import pytest
import torch

from lth.pruning.structured import units


@pytest.mark.parametrize(
    ("name", "shape", "count", "same"),
    [
        ("elements", (4, 2, 3, 3), 72, lambda i: i),
        ("filters", (4, 2, 3, 3), 4, lambda i: i[0]),
        ("channels", (4, 2, 3, 3), 2, lambda i: i[1]),
        ("kernels", (4, 2, 3, 3), 8, lambda i: i[:2]),
        ("out_features", (5, 3), 5, lambda i: i[0]),
        ("in_features", (5, 3), 3, lambda i: i[1]),
        ("outputs", (5, 3), 5, lambda i: i[0]),
        ("outputs", (4, 2, 3, 3), 4, lambda i: i[0]),
        ("inputs", (5, 3), 3, lambda i: i[1]),
        ("inputs", (4, 2, 3, 3), 2, lambda i: i[1]),
        ("layer", (5, 3), 1, lambda i: 0),
    ],
)
def test_two_weights_share_a_part_exactly_when_the_unit_says_so(name, shape, count, same):
    numbers = getattr(units, name)(shape)
    assert numbers.shape == torch.Size(shape)
    assert sorted(set(numbers.flatten().tolist())) == list(range(count))
    assert units.count_units(numbers) == count
    seen = {}
    for index in torch.cartesian_prod(*map(torch.arange, shape)).tolist():
        seen.setdefault(same(tuple(index)), set()).add(int(numbers[tuple(index)]))
    assert len(seen) == count
    assert all(len(n) == 1 for n in seen.values())


def test_blocks_are_tiles_of_filters_by_channels_at_one_position():
    numbers = units.blocks((4, 6, 1, 2), rows=2, columns=3)
    assert units.count_units(numbers) == 2 * 2 * 2
    assert torch.equal(torch.bincount(numbers.flatten()), torch.full((8,), 6))
    assert torch.equal(numbers[:2, :3, 0, 0], torch.zeros(2, 3, dtype=torch.long))
    assert numbers[0, 0, 0, 1] != numbers[0, 0, 0, 0]


@pytest.mark.parametrize(
    ("divide", "shape"),
    [
        (partial(units.blocks, rows=3, columns=2), (4, 6, 1, 1)),
        (units.filters, (4, 6)),
        (units.channels, (4, 6)),
        (units.kernels, (4, 6)),
        (units.in_features, (4, 6, 3, 3)),
        (units.out_features, (4, 6, 3, 3)),
    ],
)
def test_a_weight_a_unit_cannot_divide_is_refused(divide, shape):
    with pytest.raises(ValueError, match="shape"):
        divide(shape)


def test_totals_are_the_sums_over_the_parts():
    values = torch.arange(24.0).view(2, 3, 2, 2)
    assert torch.equal(units.sum_per_unit(values, units.filters(values.shape)), values.sum((1, 2, 3)).double())
    assert torch.equal(units.sum_per_unit(values, units.kernels(values.shape)), values.sum((2, 3)).flatten().double())
