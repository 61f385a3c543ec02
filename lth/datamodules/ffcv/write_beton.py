"""Turns folders of images into FFCV's .beton files: `python -m lth.datamodules.ffcv.write_beton ROOT`.

ROOT holds train and val, each with one folder of images for every class; train.beton and val.beton are written beside
them, or into --to. Interrupted, it goes on where it was when called again; a file has its name only once it is whole
and has been read back and compared.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from lth.datamodules.ffcv.beton import Beton, import_ffcv, opened
from lth.datamodules.ffcv.beton_parts import BetonParts
from lth.datamodules.image_tree import ImageTree, decoded, listed, same_classes
from lth.datamodules.progress import advancing
from lth.datamodules.resized_crop import centred
from lth.pruning.seeds import derive

STORES = ("jpg", "raw", "mixed")
COMPARED = 200  # images that are decoded again after writing
TOLERANCE = 24.0  # mean difference of pixels that compression may cause, of 255


def encoded(sample: tuple[int, str, int], store: str, max_side: int, quality: int, raw_share: float) -> Any:
    """One image (index, path, label) as FFCV stores it: (mode, height, width, label, content)."""
    from ffcv.fields import RGBImageField

    index, path, label = sample
    if store == "mixed":  # by the image, so that an interrupted conversion goes on with the same choices
        store = "raw" if derive("raw", index) < raw_share * 2**63 else "jpg"
    field = RGBImageField(write_mode=store, max_resolution=max_side or None, jpeg_quality=quality)
    described = np.zeros(1, field.metadata_type)
    kept: list[Any] = []

    def allocate(size: int) -> tuple[int, Any]:
        kept.append(np.empty(size, np.uint8))
        return 0, kept[0]

    field.encode(described, np.asarray(decoded(path)), allocate)
    return *(int(described[key][0]) for key in ("mode", "height", "width")), label, kept[0].tobytes()


def in_order(work: Any, items: Sequence[Any], workers: int) -> Iterator[Any]:
    """`work` of each item, in order, in threads, a few ahead of what is taken."""
    ahead = 16 * workers
    with ThreadPoolExecutor(workers) as pool:
        for first in range(0, len(items), ahead):
            yield from pool.map(work, items[first : first + ahead])


def write(source: Path, target: Path, store: str, max_side: int, quality: int, raw_share: float, workers: int) -> None:
    """Convert a folder of classes into a .beton file; do nothing but check where it is there already.

    store: jpg, raw, or mixed: raw_share of the images raw, which decode faster and take more room.
    max_side: larger images are reduced so that their longer side has so many pixels; 0 = as they are.
    quality: of the JPEGs, 1..100. workers: threads.
    """
    _, samples = listed(source)
    if not target.is_file():
        settings = {"store": store, "max_side": max_side, "quality": quality, "raw_share": raw_share}
        names = derive(*(f"{Path(path).relative_to(source)}" for path, _ in samples))
        parts = BetonParts(target, len(samples), {**settings, "samples": len(samples), "names": names})
        done = len(parts.records)
        work = partial(encoded, store=store, max_side=max_side, quality=quality, raw_share=raw_share)
        items = [(index, path, label) for index, (path, label) in enumerate(samples)][done:]
        with advancing(f"writing {target.name}", len(samples), done) as advance:
            for _ in parts.append(in_order(work, items, workers)):
                advance(1)
        parts.finish(partial(verify, source=source))
    else:
        verify(target, source)


def verify(target: Path, source: Path) -> None:
    """ValueError unless FFCV reads from `target` what the folder `source` holds: labels of all, pixels of some."""
    tree, beton = ImageTree(source, workers=0), Beton(target, workers=1)
    if not torch.equal(tree.labels, beton.labels):
        raise ValueError(f"{target} does not hold the images of {source}; delete it to write it again")
    some = torch.linspace(0, len(tree.labels) - 1, min(COMPARED, len(tree.labels))).long().unique()
    whole = partial(centred, share=1.0)
    for index, a, b in zip(some, tree.read(some, whole, 32, 1), beton.read(some, whole, 32, 1), strict=True):
        difference = (a.float() - b.float()).abs().mean().item()
        if difference > TOLERANCE:
            raise ValueError(
                f"{target}: image {int(index)} differs from {tree.paths[index]} by {difference:.0f} of 255"
            )


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says; leaves with a message when it makes no sense."""
    parser = argparse.ArgumentParser("python -m lth.datamodules.ffcv.write_beton", description=__doc__)
    parser.add_argument("root", type=Path, help="folder of train and val")
    parser.add_argument("--to", type=Path, help="folder to write to (default: ROOT)")
    parser.add_argument("--parts", nargs="+", default=["train", "val"], metavar="PART", help="default: train val")
    parser.add_argument("--store", choices=STORES, default="jpg", help="mixed: a share of them raw (default jpg)")
    parser.add_argument("--raw-share", type=float, default=0.5, help="of mixed, 0..1 (default 0.5)")
    parser.add_argument(
        "--max-side", type=int, default=500, help="pixels of the longer side; 0 = as it is (default 500)"
    )
    parser.add_argument("--quality", type=int, default=90, help="of the JPEGs, 1..100 (default 90)")
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), help="threads (default: all cores)"
    )
    args = parser.parse_args(given)
    if not 0 <= args.raw_share <= 1 or not 1 <= args.quality <= 100 or args.max_side < 0 or args.workers < 1:
        parser.error("valid: --raw-share 0..1, --quality 1..100, --max-side 0 or more, --workers 1 or more")
    return args


def main(given: Sequence[str] | None = None) -> None:
    """Convert what the command line names."""
    args = arguments(given)
    import_ffcv()
    to = args.to or args.root
    to.mkdir(parents=True, exist_ok=True)
    keys = {key: getattr(args, key) for key in ("store", "max_side", "quality", "raw_share", "workers")}
    classes = {part: listed(args.root / part)[0] for part in args.parts}
    same_classes(args.root, classes)
    for part in args.parts:
        target = to / f"{part}.beton"
        try:
            with FileLock(f"{target}.lock", timeout=0):
                write(args.root / part, target, **keys)
        except Timeout:
            raise ValueError(f"another process is writing {target}; wait for it") from None
        size = target.stat().st_size / 1e9
        print(f"{target}: {len(opened(target).metadata)} images, {size:.2f} GB, checked")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, FileNotFoundError, ImportError) as error:
        sys.exit(str(error))
