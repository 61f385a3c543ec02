"""A damaged or foreign file is refused with one clear line."""

import json
import os
import pickle
import random

import pytest
import torch
from safetensors.torch import save_file

from lth.storage.packing import pack
from lth.tickets import Ticket
from lth.tickets.ticket import FORMAT, _checksums
from tests.support.ticket_samples import contents, refuse, saved, ticket


def test_a_missing_file_is_reported_as_such(path, tmp_path):
    refuse(path, "no ticket at", FileNotFoundError)
    refuse(tmp_path, "no ticket at", FileNotFoundError)


@pytest.mark.slow
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
        ({"lth": "{}"}, "has ticket format None; this version reads lth-ticket-1, lth-ticket-2"),
        ({"lth": json.dumps({"format": "lth-ticket-3"})}, "has ticket format 'lth-ticket-3'"),
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
    header["sha256"] = _checksums(header, tensors)
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
