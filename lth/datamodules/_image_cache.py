"""A cache of decoded images: one file of tensors, written in the first run; later runs read it in about a second."""

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from lth.datamodules._files import progress_bar
from lth.datamodules._image_tree import decode_image
from lth.pruning.seeds import derive
from lth.storage.atomic import write_with

Samples = Sequence[tuple[str, int]]  # (path, label)
_BILINEAR = 2  # PIL's constant; averages all source pixels of a target pixel


def cached_images(path: Path, parts: Mapping[str, Samples], side: int, resize: bool = False) -> dict[str, Tensor]:
    """`<part>_images` uint8 (N, 3, side, side) and `<part>_labels` int64 (N,) of every part.

    They are read from the cache if it was made of the same files (names, sizes, modification times) and labels,
    else decoded and stored. One process decodes while the others wait. The file is written atomically. A valid cache
    may be on a read-only file system.

    path: file of the cache
    parts: name -> (path, label) of its images
    side: height and width in pixels
    resize: resize images of other sizes, without keeping proportions; else they are refused

    Raises ValueError naming an image that is damaged or of another size, or a damaged cache.
    """
    names = [f"{part}/{_state_of(p)}/{label}" for part, samples in parts.items() for p, label in samples]
    made_of = str(derive("resized" if resize else "decoded", side, *names))
    if _header(path).get("made_of") == made_of:
        return _load(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if _header(path).get("made_of") != made_of:
            tensors: dict[str, Tensor] = {}
            for part, samples in parts.items():
                tensors |= _decode(part, samples, side, resize)
            _store(path, tensors, made_of)
            return tensors
    return _load(path)


def _state_of(path: str) -> str:
    """Name, size and modification time of a file: an image that replaces another is decoded again."""
    found = os.stat(path)
    return f"{Path(path).name}/{found.st_size}/{found.st_mtime_ns}"


def _header(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; empty for a missing file or one of another kind."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (FileNotFoundError, SafetensorError):
        return {}


def _decode(part: str, samples: Samples, side: int, resize: bool) -> dict[str, Tensor]:
    """The tensors of one part, decoded in threads: PIL releases the interpreter lock while it decodes."""
    images = torch.empty(len(samples), 3, side, side, dtype=torch.uint8)

    def one(index: int) -> None:
        path = samples[index][0]
        image = decode_image(path)
        pixels = np.asarray(image.resize((side, side), _BILINEAR) if resize else image)
        if pixels.shape != (side, side, 3):
            raise ValueError(f"{path} is {pixels.shape[1]} x {pixels.shape[0]} pixels; valid: {side} x {side}")
        images[index] = torch.from_numpy(pixels.copy()).permute(2, 0, 1)

    with progress_bar(f"decoding {part}", len(samples)) as advance, ThreadPoolExecutor() as pool:
        for first in range(0, len(samples), 1024):
            chunk = range(first, min(first + 1024, len(samples)))
            list(pool.map(one, chunk))
            advance(len(chunk))
    return {f"{part}_images": images, f"{part}_labels": torch.tensor([label for _, label in samples])}


def _store(path: Path, tensors: dict[str, Tensor], made_of: str) -> None:
    """Write the cache atomically, with a checksum of every tensor."""
    sums = json.dumps({key: _checksum(value) for key, value in tensors.items()})
    write_with(path, lambda partial: save_file(tensors, partial, {"made_of": made_of, "checksums": sums}))


def _load(path: Path) -> dict[str, Tensor]:
    """The tensors of the cache. Raises ValueError if a checksum does not match."""
    try:
        sums, tensors = json.loads(_header(path)["checksums"]), load_file(path)
        if set(sums) != set(tensors):
            raise ValueError(f"it holds {sorted(tensors)}")
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it to decode the images again") from None
    if changed := [key for key, value in tensors.items() if _checksum(value) != sums[key]]:
        raise ValueError(f"{path} is damaged in {', '.join(changed)}; delete it to decode the images again")
    return tensors


def _checksum(tensor: Tensor) -> int:
    """CRC-32 of the bytes of a tensor."""
    return zlib.crc32(tensor.contiguous().numpy().data)
