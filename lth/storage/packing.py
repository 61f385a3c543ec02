"""Tensors in fewer bytes, without loss: masks as bits, floating-point tensors without their zeros."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # bytes of a value -> dtype of its bits
_MARK = "packed tensors"  # key of a mapping whose tensors are packed
_TENSOR = "packed tensor"  # key of the mapping that stands for one tensor


def pack(mask: Tensor) -> Tensor:
    """The bits of a 0/1 tensor, eight in a byte, in flat index order: uint8, 1-D."""
    return torch.from_numpy(np.packbits(mask.bool().contiguous().cpu().numpy().reshape(-1)))


def unpack(bits: Tensor, shape: list[int]) -> Tensor:
    """The bool tensor of `shape` whose bits `pack` returned. Raises ValueError if their number does not fit."""
    count = int(np.prod(shape, dtype=np.int64))
    if bits.dtype != torch.uint8 or bits.numel() != -(-count // 8):
        raise ValueError(f"{bits.numel()} packed bytes of {bits.dtype} do not hold a mask of shape {shape}")
    return torch.from_numpy(np.unpackbits(bits.numpy(), count=count).astype(bool)).view(shape)


@dataclass(frozen=True)
class Packed:
    """A bool or floating-point tensor in fewer bytes. It comes back with the same bits, dtype and shape.

    data: uint8, 1-D. Of a bool tensor: its bits. Of a floating-point one, one after another: a bit for each value, 1
        where it is not zero, filled up to a multiple of 8 bytes; the values that are not zero; a bit for each zero, 1
        where it is negative, left out where none is
    dtype: name of the dtype, such as `float32`
    shape: shape of the tensor

    A negative weight times the 0 of its mask is -0.0, so that pruned weights are zeros of both signs.
    """

    data: Tensor
    dtype: str
    shape: list[int]

    @classmethod
    def of(cls, tensor: Tensor) -> "Packed | None":
        """The packed tensor; None where it would not be smaller, or for another kind of tensor."""
        if tensor.layout != torch.strided or not (tensor.dtype == torch.bool or tensor.is_floating_point()):
            return None
        flat, shape = tensor.detach().cpu().contiguous().flatten(), list(tensor.shape)
        data = pack(flat) if flat.dtype == torch.bool else _without_zeros(flat)
        smaller = data is not None and data.numel() < flat.numel() * flat.element_size()
        return cls(data, str(flat.dtype).removeprefix("torch."), shape) if data is not None and smaller else None

    def tensor(self) -> Tensor:
        """The tensor. Raises ValueError where the bytes do not hold one of this dtype and shape."""
        dtype, count = getattr(torch, self.dtype, None), int(np.prod(self.shape, dtype=np.int64))
        if dtype == torch.bool:
            return unpack(self.data, self.shape)
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point or self.data.dtype != torch.uint8:
            raise ValueError(f"{self.data.dtype} of {self.dtype} is no packed tensor")
        bits, length = -(-count // 8), self.data.numel()
        begin = -(-bits // 8) * 8
        filled = unpack(self.data[:bits], [count])
        kept = int(torch.count_nonzero(filled))
        end = begin + kept * dtype.itemsize
        if length not in (end, end + -(-(count - kept) // 8)):
            raise ValueError(f"{length} packed bytes do not hold {self.dtype} of shape {self.shape}")
        integers = torch.zeros(count, dtype=_INTEGERS[dtype.itemsize])
        integers.masked_scatter_(filled, self.data[begin:end].clone().view(integers.dtype))
        if length > end:
            negative = torch.zeros(count, dtype=torch.bool).masked_scatter_(
                ~filled, unpack(self.data[end:], [count - kept])
            )
            integers.masked_fill_(negative, torch.iinfo(integers.dtype).min)
        return integers.view(dtype).view(self.shape)

    @staticmethod
    def as_integers(flat: Tensor) -> Tensor:
        """The same memory as integers of the same size: torch scatters no float8, and numpy knows no bfloat16."""
        return flat.view(_INTEGERS[flat.element_size()])

    @staticmethod
    def selected(flat: Tensor, places: Tensor) -> Tensor:
        """The values of a 1-D tensor where `places` (bool) is true. Indexing by numpy takes a third of torch's time."""
        found = flat.numpy()[places.numpy()]
        return torch.from_numpy(found) if len(found) else flat[:0].clone()  # torch gives an empty array the stride 0

    @staticmethod
    def mapping(content: Mapping[str, Any]) -> dict[str, Any]:
        """A mapping whose tensors are packed, also those in mappings and lists within it, for `Packed.unpacked`."""
        return {**_walk(content, _to_mapping, {}), _MARK: True}

    @staticmethod
    def unpacked(content: dict[str, Any]) -> dict[str, Any]:
        """What `Packed.mapping` was given; any other mapping as it is. Raises ValueError for damaged ones."""
        if not content.get(_MARK):
            return content
        try:
            whole: dict[str, Any] = _walk({k: v for k, v in content.items() if k != _MARK}, _from_mapping, {})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"its packed tensors are damaged: {error}") from None
        return whole


def _without_zeros(flat: Tensor) -> Tensor | None:
    """The bytes of a floating-point tensor, as in `Packed.data`; None where they are no fewer."""
    integers = Packed.as_integers(flat)
    negative = integers == torch.iinfo(integers.dtype).min  # as an integer; -0.0 as a number
    filled = (integers != 0) & ~negative
    kept = int(torch.count_nonzero(filled))
    if flat.numel() // 8 + kept * flat.element_size() >= flat.numel() * flat.element_size():
        return None
    bits = pack(filled)
    parts = [bits, torch.zeros(-len(bits) % 8, dtype=torch.uint8), Packed.selected(integers, filled).view(torch.uint8)]
    if negative.any():
        parts.append(pack(Packed.selected(negative, ~filled)))
    return torch.cat(parts)


def _walk(value: Any, change: Any, known: dict[Any, Any]) -> Any:
    """A copy of nested mappings and lists; `change` returns the replacement of a value, or None to descend into it."""
    changed = change(value, known)
    if changed is not None:
        return changed
    if isinstance(value, Mapping):
        return {key: _walk(inner, change, known) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_walk(inner, change, known) for inner in value)
    return value


def _to_mapping(value: Any, known: dict[Any, Any]) -> Any:
    """The mapping that replaces a tensor; the same object for tensors that share all their memory."""
    if not isinstance(value, Tensor):
        return None
    if value.layout != torch.strided or not value.numel():
        return value
    key = value.data_ptr(), value.dtype, value.shape, value.stride()
    if key not in known:
        packed = Packed.of(value)
        known[key] = value if packed is None else {_TENSOR: packed.dtype, "shape": packed.shape, "data": packed.data}
    return known[key]


def _from_mapping(value: Any, known: dict[Any, Any]) -> Any:
    if not isinstance(value, Mapping) or _TENSOR not in value:
        return None
    if id(value) not in known:
        known[id(value)] = Packed(value["data"], value[_TENSOR], value["shape"]).tensor()
    return known[id(value)]
