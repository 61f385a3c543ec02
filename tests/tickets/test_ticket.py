"""A ticket comes back bit for bit, or not at all."""

import json
import os
import pickle
import random

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from lth.pruning import Masks
from lth.pruning.masks import fingerprint
from lth.tickets import Ticket
from lth.tickets.ticket import FORMAT, checksums, pack, unpack

HEADER = {
    "dataset": "digits",
    "network": {"_target_": "lth.networks.mlp", "widths": [300, 100], "bias": True},
    "seeds": {"init": 0, "data": 1, "prune": 2},
    "level": 3,
    "parent": None,
    "test_accuracy": 0.9712345678901234,
    "name": "Lösung × α",
}


def ticket(**header):
    """Masks and weights of every awkward kind."""
    torch.manual_seed(0)
    square = torch.rand(6, 6)
    weights = {
        "fc.weight": torch.rand(7, 5),
        "head.weight": torch.rand(3, 7),
        "half": torch.rand(4).bfloat16(),
        "halves": torch.rand(3).half(),
        "double": torch.rand(2, dtype=torch.float64),
        "steps": torch.tensor(1234567890123),
        "scale": torch.tensor(0.1),
        "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
        "odd values": torch.tensor([-0.0, torch.nan, torch.inf, -torch.inf, 1e-45]),
        "transposed": square.t(),
        "slice": square[1:4, ::2],
        "shared": square,
        "view of the same": square[:2],
        "tied": square,
        "channels last": torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "expanded": torch.ones(1).expand(5),
        "trainable": nn.Parameter(torch.rand(3)),
    }
    masks = {
        "head.weight": torch.rand(3, 7) > 0.5,  # not in alphabetical order: ties between layers rest on the order
        "fc.weight": torch.rand(7, 5) > 0.5,
        "bit": torch.tensor(True),
        "none": torch.zeros(8, dtype=torch.bool),
        "all": torch.ones(3, 3, dtype=torch.bool),
    }
    return Ticket(masks, weights, {**HEADER, **header})


def saved(path, given=None):
    (given or ticket()).save(path)
    return Ticket.load(path)


def refuse(path, message, kind=ValueError):
    """Loading fails with one line that names the file."""
    with pytest.raises(kind) as error:
        Ticket.load(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def contents(given):
    return fingerprint(given.masks), fingerprint(given.weights), given.header


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "ticket.safetensors"


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


def test_a_missing_file_is_reported_as_such(path, tmp_path):
    refuse(path, "no ticket at", FileNotFoundError)
    refuse(tmp_path, "no ticket at", FileNotFoundError)


def test_every_damaged_byte_is_noticed(tmp_path):
    """One bit of each byte of a small ticket, flipped: length, header, offsets, names, masks, padding bits, weights."""
    path = tmp_path / "t"
    Ticket({"a": torch.tensor([True, False, True])}, {"a": torch.tensor([1.0, 2.0])}, {"level": 1}).save(path)
    sound = path.read_bytes()
    rng = random.Random(0)
    for i in range(len(sound)):
        damaged = bytearray(sound)
        damaged[i] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        refuse(path, "")


def test_every_bit_of_masks_and_weights_is_noticed(tmp_path):
    path = tmp_path / "t"
    Ticket({"a": torch.tensor([True, False, True])}, {"a": torch.tensor([0.0, 2.0])}, {}).save(path)
    sound = path.read_bytes()
    data = 8 + int.from_bytes(sound[:8], "little")
    assert len(sound) - data == 9
    for i in range(data, len(sound)):
        for bit in range(8):
            damaged = bytearray(sound)
            damaged[i] ^= 1 << bit
            path.write_bytes(damaged)
            refuse(path, "is damaged: the checksum of its")


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "t"
    ticket().save(path)
    sound = path.read_bytes()
    for length in [*range(20), *range(20, len(sound), 97), len(sound) - 1]:
        path.write_bytes(sound[:length])
        refuse(path, "is not a ticket")
    path.write_bytes(sound + b"\0")
    refuse(path, "is not a ticket")


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def test_a_pickle_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pickle").write_bytes(pickle.dumps(Bomb()))
    torch.save({"masks": {}, "bomb": Bomb()}, tmp_path / "torch")
    for name in ("pickle", "torch"):
        refuse(tmp_path / name, "is not a ticket")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("text", ["", "masks: none", "{}", "\n" * 100])
def test_any_other_file_is_refused(text, tmp_path):
    path = tmp_path / "t"
    path.write_text(text)
    refuse(path, "is not a ticket")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "a safetensors file, but not a ticket"),
        ({"format": "pt"}, "a safetensors file, but not a ticket"),
        ({"lth": "no json"}, "a safetensors file, but not a ticket"),
        ({"lth": "[1]"}, "a safetensors file, but not a ticket"),
        ({"lth": "null"}, "a safetensors file, but not a ticket"),
        ({"lth": "{}"}, "has ticket format None; this version reads 'lth-ticket-1'"),
        ({"lth": json.dumps({"format": "lth-ticket-2"})}, "has ticket format 'lth-ticket-2'"),
        ({"lth": json.dumps({"format": FORMAT, "shapes": {}})}, "no checksums"),
        ({"lth": json.dumps({"format": FORMAT, "shapes": {}, "sha256": {}})}, "is damaged"),
    ],
)
def test_other_safetensors_files_are_refused(metadata, message, tmp_path):
    path = tmp_path / "t"
    save_file({"weight/a": torch.ones(2)}, path, metadata=metadata)
    refuse(path, message)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("masks", lambda header, tensors: tensors.pop("mask/a")),
        ("masks", lambda header, tensors: tensors.update({"mask/b": tensors["mask/a"].clone()})),
        ("masks", lambda header, tensors: tensors.update({"mask/a": tensors["mask/a"] ^ 128})),
        ("weights", lambda header, tensors: tensors.pop("weight/a")),
        ("weights", lambda header, tensors: tensors.update({"weight/a": -tensors["weight/a"]})),
        ("weights", lambda header, tensors: tensors.update({"weight/a": tensors["weight/a"].view(torch.int32)})),
        ("weights", lambda header, tensors: tensors.update({"weight/a": tensors["weight/a"].view(2, 1)})),
        ("weights", lambda header, tensors: tensors.update({"other": torch.ones(1)})),
        ("header", lambda header, tensors: header.update(level=2)),
        ("header", lambda header, tensors: header["shapes"].update(a=[1, 3])),
        ("header", lambda header, tensors: header.pop("level")),
    ],
)
def test_what_was_exchanged_by_hand_is_noticed_and_named(part, change, tmp_path):
    path = tmp_path / "t"
    tensors = {"mask/a": pack(torch.tensor([1, 0, 1])), "weight/a": torch.tensor([1.0, 2.0])}
    header = {"format": FORMAT, "level": 1, "shapes": {"a": [3]}}
    header["sha256"] = checksums(header, tensors)
    save_file(tensors, path, metadata={"lth": json.dumps(header)})
    assert Ticket.load(path).kept == 2
    change(header, tensors)
    save_file(tensors, path, metadata={"lth": json.dumps(header)})
    refuse(path, f"is damaged: the checksum of its {part} does not match")


def test_a_crash_while_saving_leaves_the_old_ticket(path, monkeypatch):
    before = contents(saved(path))

    def crash(*_):
        raise KeyboardInterrupt

    for at in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, at, crash)
            with pytest.raises(KeyboardInterrupt):
                ticket(level=99).save(path)
        assert contents(Ticket.load(path)) == before


def test_a_header_that_is_no_json_is_refused_before_anything_is_written(path):
    with pytest.raises(TypeError):
        ticket(bad=torch.ones(1)).save(path)
    assert not path.exists()
