"""The k largest scores are those of a stable descending sort over all layers in order, to the last tie."""

import math
import random

import pytest
import torch

from lth.pruning.topk import Ranked, counts_of_largest, largest, largest_of_each

INF, NAN = math.inf, math.nan
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64]


def by_sorting(scores, k):
    """Slow and obvious: Python floats, a stable sort, ties by layer and index; -inf is already pruned."""
    places = [(value, name, i) for name, t in scores.items() for i, value in enumerate(t.flatten().tolist())]
    chosen = sorted((p for p in places if p[0] != -INF), key=lambda place: -place[0])[:k]
    marked = {name: torch.zeros(t.numel(), dtype=torch.bool) for name, t in scores.items()}
    for _, name, i in chosen:
        marked[name][i] = True
    return {name: marked[name].view(t.shape) for name, t in scores.items()}


def assert_is_the_sort(scores, k):
    expected = by_sorting(scores, k)
    found = largest(scores, k)
    assert list(found) == list(scores)
    for name, marked in found.items():
        assert marked.dtype == torch.bool
        assert torch.equal(marked, expected[name]), (name, k)
    assert counts_of_largest(scores, k) == {name: int(marked.sum()) for name, marked in expected.items()}


def available(scores):
    return sum(int((t != -INF).sum()) for t in scores.values())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "values", [[0.0, 1.0], [0.0, -0.0, 1.0, -1.0, 2.0], [-3.0, -2.0, -1.0, 0.0], [-INF, -2.0, 0.0]]
)
def test_ties_go_to_the_lower_index_over_all_layers(dtype, values):
    values = values if dtype.is_floating_point else [v for v in values if v != -INF]
    rng = random.Random(0)
    for _ in range(12):
        sizes = [rng.choice([0, 1, 3, 8, 20]) for _ in range(rng.randint(1, 4))]
        scores = {
            f"layer{i}": torch.tensor([rng.choice(values) for _ in range(n)], dtype=dtype) for i, n in enumerate(sizes)
        }
        for k in {0, available(scores), rng.randint(0, available(scores))}:
            assert_is_the_sort(scores, k)


@pytest.mark.parametrize("dtype", DTYPES[:4])
def test_every_bit_of_a_score_counts(dtype):
    """All finite bit patterns, in which neighbours differ in the last bit: a coarser comparison would tie them."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.randint(-(2**63), 2**63 - 1, (4000,), generator=generator, dtype=torch.int64).view(dtype)
    wide = wide[wide.isfinite()]
    near = torch.tensor(1.0, dtype=dtype).repeat(50)
    for i in range(1, 50):
        near[i] = torch.nextafter(near[i - 1].float(), torch.tensor(2.0)).to(dtype) if dtype != torch.float64 else 0
    if dtype == torch.float64:
        near = 1 + torch.arange(50, dtype=dtype) * 2.0**-52
    scores = {"wide": wide, "near": near[torch.randperm(50, generator=generator)]}
    total = len(wide) + 50
    for k in (1, total // 3, int((wide > 1.5).sum()) + 25, total // 2, total - 1):
        order = torch.cat(list(scores.values())).double().sort(descending=True, stable=True).indices[:k]
        expected = torch.zeros(total, dtype=torch.bool).index_fill(0, order, True)
        assert torch.equal(torch.cat(list(largest(scores, k).values())), expected)


def test_each_k_from_none_to_all_is_exact():
    scores = {"a": torch.tensor([[2.0, 1.0], [2.0, 3.0]]), "b": torch.tensor([-1.0, 2.0, 0.0])}
    for k in range(8):
        assert_is_the_sort(scores, k)
        assert sum(counts_of_largest(scores, k).values()) == k


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -1.0, 1e-45, -3e38])
@pytest.mark.parametrize("k", [0, 1, 5, 11, 12])
def test_equal_scores_keep_the_first_k(value, k):
    scores = {"a": torch.full((5,), value), "b": torch.full((7,), value)}
    marked = torch.cat(list(largest(scores, k).values()))
    assert marked.tolist() == [i < k for i in range(12)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_none_of_them_is_none_of_them(dtype):
    scores = {"a": torch.tensor([0.5, -1.0, 3.0], dtype=dtype)}
    assert not largest(scores, 0)["a"].any()
    assert counts_of_largest(scores, 0) == {"a": 0}


def test_minus_zero_ties_with_zero():
    assert largest({"a": torch.tensor([-0.0, 0.0, -0.0, -1.0])}, 1)["a"].tolist() == [True, False, False, False]
    assert largest({"a": torch.tensor([0.0, -0.0, 1.0])}, 2)["a"].tolist() == [True, False, True]


def test_float64_tells_apart_what_float32_cannot():
    scores = {
        "a": torch.tensor([1.0, 1.0 + 1e-12], dtype=torch.float64),
        "b": torch.tensor([1.0 + 2e-12], dtype=torch.float64),
    }
    assert largest(scores, 1)["a"].tolist() == [False, False]
    assert largest(scores, 2)["a"].tolist() == [False, True]


@pytest.mark.parametrize("order", [1, -1])
def test_layers_may_differ_in_dtype(order):
    scores = dict(
        [
            ("single", torch.tensor([1.0, 4.0, -2.0])),
            ("double", torch.tensor([1.5, 1.0 + 1e-12, -1.0], dtype=torch.float64)),
            ("half", torch.tensor([0.5, 4.0], dtype=torch.bfloat16)),
            ("whole", torch.tensor([2**24, 2**24 + 1])),
        ][::order]
    )
    for k in range(11):
        assert_is_the_sort(scores, k)


def test_memory_layout_and_autograd_make_no_difference():
    plain = torch.randint(-2, 3, (4, 3, 2, 2), generator=torch.Generator().manual_seed(0)).float()
    for k in (5, 17, 30):
        expected = largest({"a": plain}, k)["a"]
        assert torch.equal(largest({"a": plain.contiguous(memory_format=torch.channels_last)}, k)["a"], expected)
        assert torch.equal(largest({"a": plain.clone().requires_grad_()}, k)["a"], expected)
        assert torch.equal(largest({"a": plain.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)}, k)["a"], expected)


def test_minus_infinity_is_already_pruned():
    scores = {"a": torch.tensor([-INF, -5.0, -INF]), "b": torch.tensor([-INF, -INF])}
    assert counts_of_largest(scores, 1) == {"a": 1, "b": 0}
    with pytest.raises(ValueError, match="cannot keep 2 weights: 1 of 5 are left"):
        largest(scores, 2)


@pytest.mark.parametrize("k", [-1, 6])
def test_counts_out_of_range_are_refused(k):
    with pytest.raises(ValueError, match=f"cannot keep {k} weights"):
        largest({"a": torch.ones(5)}, k)


@pytest.mark.parametrize("bad", [NAN, -NAN, INF])
@pytest.mark.parametrize("others", [[1.0, 2.0], [-1.0, 2.0], [-INF, 2.0]])
@pytest.mark.parametrize("dtype", DTYPES[:4])
def test_scores_that_are_no_numbers_are_refused_naming_the_layer(bad, others, dtype):
    scores = {"fine": torch.ones(3, dtype=dtype), "spoilt": torch.tensor([*others, bad], dtype=dtype)}
    with pytest.raises(ValueError, match="scores of spoilt are not finite"):
        largest(scores, 2)
    with pytest.raises(ValueError, match="scores of spoilt are not finite"):
        counts_of_largest(scores, 2)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("values", [[0.0, 1.0, 2.0], [-INF, 0.0, 1.0, 2.5], [-INF, -2.0, -0.0, 0.0, 3.0]])
def test_each_layers_largest_are_the_same_after_a_search_over_all_layers(dtype, values):
    """`Ranked` caches the threshold of that search, which is right only for layers whose count it gives."""
    values = values if dtype.is_floating_point else [v for v in values if v != -INF]
    rng = random.Random(1)
    for _ in range(30):
        scores = {f"layer{i}": torch.tensor([rng.choice(values) for _ in range(9)], dtype=dtype) for i in range(3)}
        counts = {name: rng.randint(0, available({name: score})) for name, score in scores.items()}
        ranked = Ranked(scores)
        shared = counts_of_largest(ranked, sum(counts.values()))
        assert shared == counts_of_largest(scores, sum(counts.values()))
        for asked in (counts, shared):
            marked = largest_of_each(ranked, asked)
            for name, score in scores.items():
                assert torch.equal(marked[name], by_sorting({name: score}, asked[name])[name])


def test_more_than_a_layer_has_is_refused_after_a_search_over_all_too():
    ranked = Ranked({"a": torch.tensor([1.0, -INF, -INF]), "b": torch.tensor([1.0, 2.0])})
    assert counts_of_largest(ranked, 3) == {"a": 1, "b": 2}
    with pytest.raises(ValueError, match="cannot keep 2 weights: 1 of 3 are left"):
        largest_of_each(ranked, {"a": 2, "b": 1})
