"""Image files decoded once, into one file of tensors that later runs read in a second."""

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

from lth.datamodules.image_tree import decoded
from lth.datamodules.progress import advancing
from lth.pruning.seeds import derive

Samples = Sequence[tuple[str, int]]  # (path, label)
BILINEAR = 2  # PIL's number for it; over all pixels that fall on one


def cached(path: Path, parts: Mapping[str, Samples], side: int, resize: bool = False) -> dict[str, Tensor]:
    """`<part>_images` uint8 (N, 3, side, side) and `<part>_labels` int64 (N,) of every part.

    Read from `path` if it was made of the same file names and labels; else decoded and stored there. One process
    decodes, the others wait for it. The file appears whole or not at all.
    resize: images of other sizes and shapes are made to fit, whole; without it they are refused.
    ValueError naming an image that is damaged or of another size, or a cache whose content has changed.
    """
    names = [f"{part}/{Path(p).name}/{label}" for part, samples in parts.items() for p, label in samples]
    made_of = str(derive("resized" if resize else "decoded", side, *names))
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if header(path).get("made_of") != made_of:
            tensors: dict[str, Tensor] = {}
            for part, samples in parts.items():
                tensors |= decode(part, samples, side, resize)
            store(path, tensors, made_of)
            return tensors
    return load(path)


def header(path: Path) -> dict[str, str]:
    """What a file of tensors says of itself; nothing for a missing file or one that is none."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (FileNotFoundError, SafetensorError):
        return {}


def decode(part: str, samples: Samples, side: int, resize: bool) -> dict[str, Tensor]:
    """All images of a part, in threads: PIL lets others run while it decodes."""
    images = torch.empty(len(samples), 3, side, side, dtype=torch.uint8)

    def one(index: int) -> None:
        path = samples[index][0]
        image = decoded(path)
        pixels = np.asarray(image.resize((side, side), BILINEAR) if resize else image)
        if pixels.shape != (side, side, 3):
            raise ValueError(f"{path} is {pixels.shape[1]} x {pixels.shape[0]} pixels; valid: {side} x {side}")
        images[index] = torch.from_numpy(pixels.copy()).permute(2, 0, 1)

    with advancing(f"decoding {part}", len(samples)) as advance, ThreadPoolExecutor() as pool:
        for first in range(0, len(samples), 1024):
            chunk = range(first, min(first + 1024, len(samples)))
            list(pool.map(one, chunk))
            advance(len(chunk))
    return {f"{part}_images": images, f"{part}_labels": torch.tensor([label for _, label in samples])}


def store(path: Path, tensors: dict[str, Tensor], made_of: str) -> None:
    """Write the file beside its place, then move it there."""
    partial = path.with_name(path.name + ".partial")
    sums = json.dumps({key: checksum(value) for key, value in tensors.items()})
    save_file(tensors, partial, {"made_of": made_of, "checksums": sums})
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


def load(path: Path) -> dict[str, Tensor]:
    """The tensors, if they are what was stored."""
    sums, tensors = json.loads(header(path)["checksums"]), load_file(path)
    if changed := [key for key, value in tensors.items() if checksum(value) != sums[key]]:
        raise ValueError(f"{path} is damaged in {', '.join(changed)}; delete it to decode the images again")
    return tensors


def checksum(tensor: Tensor) -> int:
    """CRC-32 of a tensor's bytes."""
    return zlib.crc32(tensor.contiguous().numpy().data)
