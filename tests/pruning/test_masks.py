"""Masks sit beside the network: same shapes, dtypes and layout, changed in place, checked by name."""

import copy

import pytest
import torch
from torch import nn

from lth.pruning import Masks
from lth.pruning.masks import fingerprint, masked, zero_


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3))


def some(net, seed=0):
    """Masks that keep about half."""
    masks = Masks.ones(net)
    generator = torch.Generator().manual_seed(seed)
    return masks.copy_({name: torch.rand(m.shape, generator=generator) > 0.5 for name, m in masks.items()})


def backwards(masks):
    return Masks({name: masks[name] for name in reversed(list(masks))})


def pointers(masks):
    return [mask.data_ptr() for mask in masks.values()]


def test_a_shared_weight_is_masked_under_all_its_names():
    net = nn.ModuleDict({"first": nn.Linear(4, 4), "other": nn.Linear(4, 4), "tied": nn.Linear(4, 4)})
    net["tied"].weight = net["first"].weight
    masks = some(net)
    assert list(masks) == ["first.weight", "other.weight"]
    stored = {name: tensor.clone() for name, tensor in net.state_dict().items()}  # as a file holds them
    found = masked(stored, masks)
    assert torch.equal(found["tied.weight"], stored["first.weight"] * masks["first.weight"])
    assert torch.equal(found["other.weight"], stored["other.weight"] * masks["other.weight"])
    assert found["tied.bias"] is stored["tied.bias"]


def test_at_first_everything_is_kept():
    masks = Masks.ones(network())
    assert list(masks) == ["0.weight", "2.weight"]
    assert len(masks) == 2
    assert (masks.kept, masks.total, masks.density) == (84, 84, 1.0)
    assert all((mask == 1).all() for mask in masks.values())


def test_counts_and_density_are_of_kept_weights():
    masks = Masks.ones(network())
    masks["0.weight"][0] = 0
    assert masks.kept_by_layer() == {"0.weight": 54, "2.weight": 12}
    assert (masks.kept, masks.total) == (66, 84)
    assert masks.density == 66 / 84
    assert repr(masks) == "Masks(2 weights, 66 of 84 kept, density 0.785714)"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_masks_have_their_weights_dtype_and_layout_and_no_gradient(dtype):
    net = network().to(dtype).to(memory_format=torch.channels_last)
    for weight, mask in zip(Masks.ones(net).weights(net), Masks.ones(net).values(), strict=True):
        assert (mask.dtype, mask.shape, mask.stride()) == (weight.dtype, weight.shape, weight.stride())
        assert not mask.requires_grad
        assert type(mask) is torch.Tensor  # a Parameter would be registered, optimised and decayed


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_masks_follow_the_network_through_conversions(dtype):
    net = network()
    masks = some(net)
    digest = masks.digest()
    net.to(dtype)
    masks.move_(lambda t: t.to(dtype))
    assert {mask.dtype for mask in masks.values()} == {dtype}
    assert masks.digest() == digest
    masks.apply_(net)
    assert all(not weight[mask == 0].any() for weight, mask in zip(masks.weights(net), masks.values(), strict=True))


def test_a_move_that_changes_nothing_keeps_the_tensors():
    masks = some(network())
    before = pointers(masks)
    masks.move_(lambda t: t.to(torch.float32))
    assert pointers(masks) == before


def test_masks_of_a_module_follow_it_as_modules_hand_moves_around():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()
            self.masks = some(self.net)

        def _apply(self, fn, recurse=True):
            super()._apply(fn, recurse)
            self.masks.move_(fn)
            return self

    holder = Holder()
    digest = holder.masks.digest()
    for moved in (holder.double(), holder.half(), holder.to(torch.bfloat16), holder.float(), holder.cpu()):
        assert [m.dtype for m in moved.masks.values()] == [w.dtype for w in moved.masks.weights(moved.net)]
    holder.to(memory_format=torch.channels_last)
    assert holder.masks["0.weight"].stride() == holder.net[0].weight.stride()
    assert holder.masks.digest() == digest


def test_taking_over_other_masks_happens_in_place():
    net = network()
    masks, other = Masks.ones(net), some(net)
    before = pointers(masks)
    assert masks.copy_(other) is masks
    assert pointers(masks) == before
    assert masks.digest() == other.digest()
    assert masks.copy_(some(net, seed=1).bools()).digest() == some(net, seed=1).digest()
    assert {mask.dtype for mask in masks.values()} == {torch.float32}


def test_a_clone_is_independent():
    masks = some(network())
    digest = masks.digest()
    clone = masks.clone()
    clone["0.weight"].zero_()
    assert masks.digest() == digest
    assert clone.digest() != digest


def test_digests_tell_positions_apart_and_nothing_else():
    net = network()
    masks = some(net)
    assert masks.digest() == some(net).digest() == Masks(masks.bools()).digest()
    assert masks.digest() == backwards(masks).digest()
    assert (
        masks.digest()
        == Masks(
            {n: m.contiguous(memory_format=torch.channels_last) if m.ndim == 4 else m for n, m in masks.items()}
        ).digest()
    )
    digests = {masks.digest()}
    for name, mask in masks.items():
        for i in range(mask.numel()):
            other = masks.clone()
            other[name].view(-1)[i] = 1 - other[name].view(-1)[i]
            digests.add(other.digest())
    assert len(digests) == 1 + masks.total


@pytest.mark.parametrize(
    "other",
    [
        {"b": torch.tensor([1.0, 2.0])},
        {"a": torch.tensor([2.0, 1.0])},
        {"a": torch.tensor([[1.0, 2.0]])},
        {"a": torch.tensor([1.0, 2.0], dtype=torch.float64)},
        {"a": torch.tensor([1.0, 2.0]).view(torch.int32)},
        {"a": torch.tensor([1.0]), "": torch.tensor([2.0])},
        {},
    ],
)
def test_fingerprints_tell_names_shapes_dtypes_and_bits_apart(other):
    assert fingerprint({"a": torch.tensor([1.0, 2.0])}) != fingerprint(other)


def test_fingerprints_see_the_sign_of_zero_and_any_dtype():
    assert fingerprint({"a": torch.tensor(0.0)}) != fingerprint({"a": torch.tensor(-0.0)})
    odd = {"0": torch.tensor(3), "1": torch.zeros(0, 2), "2": torch.ones(3).bfloat16(), "3": torch.tensor([True])}
    assert fingerprint(odd) == fingerprint(copy.deepcopy(odd))


def test_applying_masks_zeroes_pruned_weights_in_place_and_leaves_the_rest():
    net = network()
    masks = some(net)
    before = copy.deepcopy(net.state_dict())
    places = [p.data_ptr() for p in net.parameters()]
    masks.apply_(net)
    assert [p.data_ptr() for p in net.parameters()] == places
    for name, value in net.state_dict().items():
        expected = before[name] * masks[name] if name in masks else before[name]
        assert torch.equal(value, expected)
    assert all(p.requires_grad for p in net.parameters())


def test_zeroing_nothing_is_no_error():
    zero_([], [])


def test_weights_come_in_the_order_of_the_masks():
    net = network()
    masks = backwards(Masks.ones(net))
    assert [id(w) for w in masks.weights(net)] == [id(net[2].weight), id(net[0].weight)]


def test_a_network_that_does_not_fit_is_refused_with_every_difference():
    masks = Masks.ones(network())
    other = nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(4))
    with pytest.raises(ValueError, match="masks do not fit the network") as error:
        masks.weights(other)
    assert "missing ['2.weight']" in str(error.value)
    assert "0.weight: mask (4, 2, 3, 3), the network (5, 2, 3, 3)" in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"2.weight": None}, r"missing \['2.weight'\]"),
        ({"3.weight": torch.ones(1)}, r"unexpected \['3.weight'\]"),
        ({"2.weight": torch.ones(4, 3)}, r"2.weight: mask \(3, 4\), the given masks \(4, 3\)"),
        ({"2.weight": torch.ones(3, 1)}, r"2.weight: mask \(3, 4\), the given masks \(3, 1\)"),  # no broadcasting
        (
            {"2.weight": None, "net.2.weight": torch.ones(3, 4)},
            r"missing \['2.weight'\], unexpected \['net.2.weight'\]",
        ),
    ],
)
def test_masks_that_do_not_fit_are_refused_and_change_nothing(change, message):
    net = network()
    masks, other = Masks.ones(net), {**some(net).bools(), **change}
    with pytest.raises(ValueError, match=message):
        masks.copy_({name: mask for name, mask in other.items() if mask is not None})
    assert masks.density == 1
