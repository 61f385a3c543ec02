"""Converts folders of images to FFCV's .beton files: `python -m lth.datamodules.ffcv.write_beton ROOT`.

ROOT holds train and val, each with one folder of images for each class; train.beton and val.beton are written there or
into --to. After an interruption the same command resumes. A file gets its name after it is complete and was compared
with the images.
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

from lth.datamodules._files import progress_bar
from lth.datamodules._image_tree import ImageTree, check_same_classes, decode_image, list_images
from lth.datamodules._resized_crop import centre_windows
from lth.datamodules.ffcv._beton import Beton, import_ffcv, open_beton
from lth.datamodules.ffcv._partial_beton import PartialBeton
from lth.pruning.seeds import derive

_STORES = ("jpg", "raw", "mixed")
_COMPARED = 200  # images that are read back and compared
_TOLERANCE = 24.0  # largest mean difference of pixel values 0..255 that compression may cause


def _encode(sample: tuple[int, str, int], store: str, max_side: int, quality: int, raw_share: float) -> Any:
    """One image as FFCV stores it: (mode, height, width, label, content).

    sample: (index, path, label)
    """
    from ffcv.fields import RGBImageField

    index, path, label = sample
    if store == "mixed":  # the choice depends on the image's index alone: a resumed conversion repeats it
        store = "raw" if derive("raw", index) < raw_share * 2**63 else "jpg"
    field = RGBImageField(write_mode=store, max_resolution=max_side or None, jpeg_quality=quality)
    described = np.zeros(1, field.metadata_type)
    kept: list[Any] = []

    def allocate(size: int) -> tuple[int, Any]:
        kept.append(np.empty(size, np.uint8))
        return 0, kept[0]

    field.encode(described, np.asarray(decode_image(path)), allocate)
    return *(int(described[key][0]) for key in ("mode", "height", "width")), label, kept[0].tobytes()


def _in_order(work: Any, items: Sequence[Any], workers: int) -> Iterator[Any]:
    """Yield `work` of each item in order, computed by threads a few items ahead."""
    ahead = 16 * workers
    with ThreadPoolExecutor(workers) as pool:
        for first in range(0, len(items), ahead):
            yield from pool.map(work, items[first : first + ahead])


def _write(source: Path, target: Path, store: str, max_side: int, quality: int, raw_share: float, workers: int) -> None:
    """Convert a folder with one folder per class to a .beton file; an existing file is only checked.

    store: jpg, raw (decodes faster, larger), or mixed
    max_side: pixels that longer sides are reduced to; 0 keeps all sizes
    quality: of the JPEGs, 1..100
    raw_share: fraction of raw images for mixed
    workers: number of threads
    """
    _, samples = list_images(source)
    if not target.is_file():
        settings = {"store": store, "max_side": max_side, "quality": quality, "raw_share": raw_share}
        names = derive(*(f"{Path(path).relative_to(source)}" for path, _ in samples))
        parts = PartialBeton(target, len(samples), {**settings, "samples": len(samples), "names": names})
        done = len(parts.records)
        work = partial(_encode, store=store, max_side=max_side, quality=quality, raw_share=raw_share)
        items = [(index, path, label) for index, (path, label) in enumerate(samples)][done:]
        with progress_bar(f"writing {target.name}", len(samples), done) as advance:
            for _ in parts.append(_in_order(work, items, workers)):
                advance(1)
        parts.finish(partial(_verify, source=source))
    else:
        _verify(target, source)


def _verify(target: Path, source: Path) -> None:
    """Raise ValueError unless `target` holds the images of `source`: all labels and some of the images are compared."""
    tree, beton = ImageTree(source, workers=0), Beton(target, workers=1)
    if not torch.equal(tree.labels, beton.labels):
        raise ValueError(f"{target} does not hold the images of {source}; delete it to write it again")
    some = torch.linspace(0, len(tree.labels) - 1, min(_COMPARED, len(tree.labels))).long().unique()
    whole = partial(centre_windows, share=1.0)
    for index, a, b in zip(some, tree.read(some, whole, 32, 1), beton.read(some, whole, 32, 1), strict=True):
        difference = (a.float() - b.float()).abs().mean().item()
        if difference > _TOLERANCE:
            raise ValueError(
                f"{target}: image {int(index)} differs from {tree.paths[index]} by {difference:.0f} of 255"
            )


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line; exits with a message if it is invalid."""
    parser = argparse.ArgumentParser("python -m lth.datamodules.ffcv.write_beton", description=__doc__)
    parser.add_argument("root", type=Path, help="folder that holds train and val")
    parser.add_argument("--to", type=Path, help="folder to write to (default: ROOT)")
    parser.add_argument("--parts", nargs="+", default=["train", "val"], metavar="PART", help="folders (train val)")
    parser.add_argument("--store", choices=_STORES, default="jpg", help="format; mixed: some images raw (default jpg)")
    parser.add_argument("--raw-share", type=float, default=0.5, help="fraction of raw images in mixed (default 0.5)")
    parser.add_argument(
        "--max-side", type=int, default=500, help="pixels that longer sides are reduced to; 0 = keep (default 500)"
    )
    parser.add_argument("--quality", type=int, default=90, help="JPEG quality, 1..100 (default 90)")
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), help="threads (default: all cores)"
    )
    args = parser.parse_args(given)
    if not 0 <= args.raw_share <= 1 or not 1 <= args.quality <= 100 or args.max_side < 0 or args.workers < 1:
        parser.error("valid: --raw-share 0..1, --quality 1..100, --max-side 0 or more, --workers 1 or more")
    return args


def main(given: Sequence[str] | None = None) -> None:
    """Convert the folders that the command line names."""
    args = _arguments(given)
    import_ffcv()
    to = args.to or args.root
    to.mkdir(parents=True, exist_ok=True)
    keys = {key: getattr(args, key) for key in ("store", "max_side", "quality", "raw_share", "workers")}
    classes = {part: list_images(args.root / part)[0] for part in args.parts}
    check_same_classes(args.root, classes)
    for part in args.parts:
        target = to / f"{part}.beton"
        try:
            with FileLock(f"{target}.lock", timeout=0):
                _write(args.root / part, target, **keys)
        except Timeout:
            raise ValueError(f"another process is writing {target}; wait for it") from None
        size = target.stat().st_size / 1e9
        print(f"{target}: {len(open_beton(target).metadata)} images, {size:.2f} GB, checked")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, FileNotFoundError, ImportError) as error:
        sys.exit(str(error))
