"""A ticket is saved and loaded bit for bit, or refused."""

import pytest
import torch
from safetensors import safe_open
from torch import nn

from lth.pruning import Masks
from lth.pruning.masks import fingerprint
from lth.storage.packing import pack, unpack
from lth.tickets import Ticket
from lth.tickets.ticket import FORMAT
from tests.support.ticket_samples import HEADER, contents, saved, ticket


def test_masks_and_weights_come_back_bit_for_bit(path):
    given, found = ticket(), saved(path)
    assert fingerprint(found.masks) == fingerprint(given.masks)  # names, shapes, dtypes and bits
    assert fingerprint(found.weights) == fingerprint(given.weights)
    assert {mask.dtype for mask in found.masks.values()} == {torch.bool}


def test_layers_come_back_in_the_networks_order(path):
    assert list(saved(path).masks) == list(ticket().masks)


def test_the_header_comes_back(path):
    header = saved(path).header
    assert {key: header[key] for key in HEADER} == HEADER
    assert header["format"] == FORMAT
    assert (header["kept"], header["prunable"]) == (ticket().kept, ticket().total)
    assert header["density"] == ticket().kept / ticket().total == ticket().density


def test_a_header_cannot_pretend_to_be_another_ticket(path):
    found = saved(path, ticket(kept=1, density=0.5, shapes={}, format="other", sha256={}))
    assert contents(found) == contents(saved(path))


def test_a_loaded_ticket_saved_again_is_the_same(path, tmp_path):
    first = saved(path)
    second = saved(tmp_path / "again", first)
    assert contents(second) == contents(first)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_keys_that_json_turns_into_text_are_no_damage(path):
    assert saved(path, ticket(rates={10: 0.1, 9: 0.2}, pair=(1, 2))).header["rates"] == {"10": 0.1, "9": 0.2}


def test_saving_changes_neither_masks_nor_weights(path):
    given = ticket()
    before = contents(given)
    given.save(path)
    assert contents(given) == before
    assert given.weights["tied"] is given.weights["shared"]


def test_a_network_takes_masks_and_weights_back(path):
    net = nn.Sequential(nn.Linear(9, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    masks = Masks.ones(net)
    masks["0.weight"][::2] = 0
    found = saved(path, Ticket(masks.bools(), net.state_dict()))
    again = nn.Sequential(nn.Linear(9, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    again.load_state_dict(found.weights)
    assert fingerprint(again.state_dict()) == fingerprint(net.state_dict())
    assert Masks.ones(again).copy_(found.masks).digest() == masks.digest()


def test_masks_may_be_given_as_numbers(path):
    found = saved(path, Ticket({"a": torch.tensor([0.0, 1.0, 1.0]), "b": torch.tensor([[1, 0]])}, {}))
    assert found.masks["a"].tolist() == [False, True, True]
    assert found.masks["b"].tolist() == [[True, False]]


def test_a_mask_takes_one_bit_a_weight(path, tmp_path):
    sizes = []
    for n in (80_000, 160_000):
        Ticket({"a": torch.ones(n)}, {}).save(path)
        sizes.append(path.stat().st_size)
    assert sizes[1] - sizes[0] == pytest.approx(10_000, abs=16)
    with safe_open(str(path), framework="pt") as file:
        assert file.get_tensor("mask/a").dtype == torch.uint8
        assert file.get_tensor("mask/a").numel() == 20_000


@pytest.mark.parametrize("shape", [[], [1], [7], [8], [9], [0], [3, 0], [2, 3, 5]])
def test_packing_and_unpacking_are_inverse(shape):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.5
    assert torch.equal(unpack(pack(mask), shape), mask)


def test_packed_bits_stand_in_flat_index_order():
    mask = torch.tensor([[1, 0, 0, 0, 0], [0, 0, 1, 1, 0]])
    assert pack(mask).tolist() == [0b10000001, 0b10000000]
    assert torch.equal(pack(mask.t().contiguous().t()), pack(mask))


@pytest.mark.parametrize("shape", [[1], [17], [2, 9]])
def test_too_few_or_too_many_bits_are_refused(shape):
    with pytest.raises(ValueError, match="2 packed bytes"):
        unpack(torch.zeros(2, dtype=torch.uint8), shape)
