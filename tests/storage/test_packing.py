"""Packed tensors: fewer bytes, the same bits."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from lth.storage.checkpoint import load_checkpoint, write_checkpoint
from lth.storage.packing import Packed
from lth.tickets.formats.content import read

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e4m3fnuz)
OTHERS = (torch.int64, torch.uint8, torch.int8, torch.int16, torch.complex64, torch.complex128)
SHAPES = ([], [1], [7], [64], [65], [3, 5, 4], [0], [3, 0], [40, 33])


def bits(tensor):
    return tensor.detach().contiguous().flatten().view(torch.uint8)


def same(found, given):
    return found.dtype == given.dtype and found.shape == given.shape and torch.equal(bits(found), bits(given))


def of_random_bits(shape, dtype, density, negative, seed):
    """Values of any bits (NaN with payload, infinite, denormal), of which `density` are not zero, else 0.0 or -0.0."""
    random = torch.Generator().manual_seed(seed)
    size = torch.empty(0, dtype=dtype).element_size()
    raw = torch.randint(0, 256, [*shape, size], generator=random, dtype=torch.uint8)
    raw[torch.rand(shape, generator=random) >= density] = 0
    zeros = (raw == 0).all(-1) & (torch.rand(shape, generator=random) < negative)
    raw[..., -1][zeros] = 0x80
    return raw.view(dtype).reshape(shape)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_any_bits_come_back(dtype, shape):
    for seed, (density, negative) in enumerate([(0, 0), (0, 1), (0.03, 0.5), (0.5, 0.01), (1, 0)]):
        given = of_random_bits(shape, dtype, density, negative, seed)
        packed = Packed.of(given)
        assert packed is None or (same(packed.tensor(), given) and packed.data.numel() < bits(given).numel())
        if density < 0.1 and given.numel() > 100:
            assert packed is not None


@pytest.mark.parametrize("shape", SHAPES)
def test_masks_take_a_bit_a_weight(shape):
    given = torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.5
    packed = Packed.of(given)
    assert packed is None or (same(packed.tensor(), given) and packed.data.numel() == -(-given.numel() // 8))
    assert (packed is None) == (given.numel() < 2)


@pytest.mark.parametrize("dtype", OTHERS)
def test_other_dtypes_stay_as_they_are(dtype):
    given = torch.zeros(50, dtype=dtype)
    assert Packed.of(given) is None
    assert same(Packed.unpacked(Packed.mapping({"a": given}))["a"], given)


def test_what_is_not_contiguous_is_packed_in_index_order():
    square = torch.zeros(8, 6, 4, 4)
    square[1::3] = torch.arange(96.0).view(6, 4, 4)
    for given in (square.transpose(0, 1), square[::2, 1:], square.contiguous(memory_format=torch.channels_last)):
        packed = Packed.of(given)
        assert packed is not None
        assert same(packed.tensor(), given)
    expanded = Packed.of(torch.zeros(1).expand(100))
    assert expanded is not None
    assert expanded.tensor().tolist() == [0] * 100


def test_a_negative_zero_is_not_the_zero():
    given = torch.zeros(100)
    given[::3] = -0.0
    given[5] = float("nan")
    packed = Packed.of(given)
    assert packed is not None
    assert same(packed.tensor(), given)
    assert torch.signbit(packed.tensor()).sum() == 34


def test_bytes_of_another_length_are_refused():
    packed = Packed.of(torch.tensor([0.0] * 70 + [-0.0, 1.0]))
    assert packed is not None
    for data in (
        packed.data[:-1],
        packed.data[:-11],
        torch.cat([packed.data, packed.data[:1]]),
        packed.data[:3],
        packed.data.int(),
    ):
        with pytest.raises(ValueError, match="packed"):
            Packed(data, packed.dtype, packed.shape).tensor()
    for dtype, shape in (("float64", [72]), ("int32", [72]), ("save", [72]), ("float32", [720]), ("bool", [72])):
        with pytest.raises(ValueError, match="pack"):
            Packed(packed.data, dtype, shape).tensor()


def content():
    """A checkpoint with tensors at several depths, two of which share their memory."""
    sparse, mask = torch.zeros(30, 10), torch.rand(30, 10) > 0.5
    sparse[::7] = 1.5
    sparse[1] = -0.0
    square = torch.zeros(20, 20)
    square[2, 3] = 1
    state = OrderedDict(a=sparse, tied=sparse, row=sparse[3], square=square, transposed=square.t())
    state |= {"steps": torch.tensor(3), "none": torch.zeros(0, 4)}
    return {"state_dict": state, "masks": {"a": mask}, "list": [torch.zeros(99), (1, "x")], "epoch": 3, "nothing": None}


def equal(found, given):
    if isinstance(given, torch.Tensor):
        return same(found, given)
    if isinstance(given, dict):
        return list(found) == list(given) and all(equal(found[key], value) for key, value in given.items())
    if isinstance(given, list | tuple):
        return len(found) == len(given) and all(map(equal, found, given))
    return type(found) is type(given) and found == given


def test_a_checkpoint_comes_back_and_its_memory_is_stored_once(tmp_path: Path):
    given = content()
    write_checkpoint(tmp_path / "a.ckpt", given, pack=True)
    write_checkpoint(tmp_path / "b.ckpt", given)
    found = load_checkpoint(tmp_path / "a.ckpt")
    assert equal(found, given)
    assert equal(load_checkpoint(tmp_path / "b.ckpt"), given)
    assert found["state_dict"]["a"] is found["state_dict"]["tied"]
    assert (tmp_path / "a.ckpt").stat().st_size < (tmp_path / "b.ckpt").stat().st_size


def test_a_packed_checkpoint_is_sealed(tmp_path: Path):
    path = tmp_path / "a.ckpt"
    write_checkpoint(path, content(), pack=True)
    stored = torch.load(path, weights_only=True)
    stored["state_dict"]["a"]["data"][0] ^= 1
    torch.save(stored, path)
    with pytest.raises(ValueError, match=r"a\.ckpt is damaged .*seal does not fit"):
        load_checkpoint(path)


def test_damaged_packed_tensors_without_seal_are_refused(tmp_path: Path):
    path = tmp_path / "a.ckpt"
    write_checkpoint(path, content(), pack=True)
    for damage in ({"data": 3}, {"shape": "x"}, {"shape": [1 << 60]}, {"packed tensor": 5}):
        stored = torch.load(path, weights_only=True)
        del stored["seal"]
        stored["state_dict"]["a"].update(damage)
        torch.save(stored, tmp_path / "b.ckpt")
        with pytest.raises(ValueError, match=r"b\.ckpt is damaged"):
            load_checkpoint(tmp_path / "b.ckpt")


def test_other_programs_files_may_be_packed_checkpoints(tmp_path: Path):
    path = tmp_path / "last.ckpt"
    weights = {"net.fc.weight": torch.eye(20), "net.fc.bias": torch.zeros(20)}
    masks = {"fc.weight": torch.eye(20) > 0}
    write_checkpoint(path, {"state_dict": weights, "masks": masks}, pack=True)
    found = read(path)
    assert same(found.weights["fc.weight"], torch.eye(20))
    assert found.masks is not None
    assert same(found.masks["fc.weight"], masks["fc.weight"])
