"""Images from FFCV's .beton files (Leclerc et al. 2023), decoded by FFCV in threads of this process.

FFCV's own random transforms draw from numba's generators of whatever thread runs them, which nothing can seed or
resume. So the one transform here is a decoder that cuts the windows it is told: what it gives depends on them alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lth.datamodules.image_loader import Cut

FIELDS = ("image", "label")


def import_ffcv() -> Any:
    """The package ffcv; ImportError that says how to install it."""
    try:
        import ffcv.loader
    except ImportError as error:
        raise ImportError(
            f"dataset.loader=ffcv needs FFCV ({error}): install Debian's libopencv-dev libturbojpeg0-dev pkg-config, "
            "then `make ffcv` or pip install 'lth[ffcv]'; or take dataset.loader=torchvision"
        ) from error
    return ffcv


class Beton:
    """The images of one file with the fields image and label, as FFCV's writer or `write_beton` makes it.

    workers: threads that decode. ValueError for a file that is damaged or holds something else.
    """

    def __init__(self, path: Path, workers: int) -> None:
        self.path, self.workers, self.ffcv = path, workers, import_ffcv()
        threads = most_threads()
        if not 1 <= workers <= threads:
            raise ValueError(f"dataset.workers={workers}; valid with dataset.loader=ffcv here: 1..{threads}")
        reader = opened(path)
        images, labels = (reader.metadata[f"f{reader.field_names.index(name)}"] for name in FIELDS)
        self.sizes = np.stack([images["height"], images["width"]], 1).astype(np.int64)
        self.labels = torch.from_numpy(labels.astype(np.int64))
        self.loader: Any = None

    def read(self, samples: Tensor, cut: Cut, pixels: int, batch_size: int) -> Iterator[Tensor]:
        """See `Source.read`: each batch lies in memory that FFCV uses again."""
        if not len(samples):
            return
        order = samples.numpy()
        rows = np.ascontiguousarray(np.column_stack([order, cut(self.sizes, 0)[order]]), dtype=np.int64)
        with torch_threads_kept():
            reading = self.start(rows, pixels, batch_size)
            images = self.taken(reading)
        try:
            while images is not None:
                yield images
                images = self.taken(reading)
        finally:
            stop(reading)

    def start(self, rows: Any, pixels: int, batch_size: int) -> Any:
        """FFCV's thread over one pass. The loader, and with it what was compiled, is made once a process."""
        if self.loader is None:
            self.loader = loader_of(self.path, self.workers)
        self.loader.decoder.pixels, self.loader.batch_size = pixels, batch_size
        self.ffcv.pipeline.Compiler.set_num_threads(self.workers)
        return self.ffcv.loader.epoch_iterator.EpochIterator(self.loader, rows)

    def taken(self, reading: Any) -> Tensor | None:
        """The next batch, None behind the last. FFCV's own `next` would wait for ever for a thread that failed."""
        while True:
            with suppress(Empty):
                given = reading.output_queue.get(timeout=0.5)
                return None if given is None else given[1][0]
            if not reading.is_alive() and reading.output_queue.empty():
                raise ValueError(f"{self.path}: an image cannot be decoded; delete the file and write it again")


def stop(reading: Any) -> None:
    """End FFCV's thread, wherever it is: an iterator that is merely left keeps its thread, memory and file."""
    reading.iter_ixes = iter(())  # it ends after the batch it decodes now
    while reading.is_alive():
        with suppress(Empty):
            reading.output_queue.get(timeout=0.05)  # it may be waiting for room to put that batch
    reading.join()


@contextmanager
def torch_threads_kept() -> Iterator[None]:
    """FFCV sets torch's number of threads to its own: slower or faster training, and other last bits."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def most_threads() -> int:
    """The most threads that FFCV's compiler will use."""
    return import_module("numba").config.NUMBA_NUM_THREADS


def opened(path: Path) -> Any:
    """FFCV's reader of a whole file that has the two fields; else ValueError naming what is wrong."""
    from ffcv.reader import Reader

    try:
        with torch_threads_kept():
            reader = Reader(str(path))
    except (AssertionError, ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no .beton file, or damaged: {error}") from error
    ends = reader.alloc_table["ptr"] + reader.alloc_table["size"]
    size, wanted = path.stat().st_size, int(ends.max(initial=np.uint64(0)))
    if (
        not len(reader.metadata) == reader.num_samples == len(np.unique(reader.alloc_table["sample_id"]))
        or wanted > size
    ):
        raise ValueError(f"{path} is damaged or was not written to its end: {size} bytes; write it again")
    if missing := set(FIELDS) - set(reader.field_names):
        raise ValueError(f"{path} lacks the fields {sorted(missing)}; it has {reader.field_names}")
    return reader


def loader_of(path: Path, workers: int) -> Any:
    """FFCV's loader of the images alone, through a decoder of its own: one used in two loaders mixes their pixels."""
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import ToTensor, ToTorchImage

    decoder = window_decoder()
    loader = Loader(
        str(path),
        batch_size=1,  # set for each pass
        num_workers=workers,
        os_cache=True,
        order=OrderOption.SEQUENTIAL,  # unused: each pass brings its own
        seed=0,  # or it would draw one from numpy's global generator
        pipelines={"image": [decoder, ToTensor(), ToTorchImage()], "label": None},
        drop_last=False,
    )
    loader.decoder = decoder
    return loader


def window_decoder() -> Any:
    """An FFCV decoder of rows (image, top, left, height, width): that window of that image, resized to `pixels`.

    The rows come in place of FFCV's sample indices, which it hands on untouched.
    """
    from dataclasses import replace

    from ffcv.fields.rgb_image import IMAGE_MODES, SimpleRGBImageDecoder
    from ffcv.libffcv import imdecode, resize_crop
    from ffcv.pipeline.allocation_query import AllocationQuery
    from ffcv.pipeline.compiler import Compiler

    class WindowDecoder(SimpleRGBImageDecoder):
        pixels = 1

        def declare_state_and_memory(self, previous_state: Any) -> Any:
            shape, dtype = (self.pixels, self.pixels, 3), np.dtype("u1")
            return replace(previous_state, jit_mode=True, shape=shape, dtype=dtype), AllocationQuery(shape, dtype)

        def generate_code(self) -> Any:
            stored, jpg, each = self.memory_read, IMAGE_MODES["jpg"], Compiler.get_iterator()
            decompress, resize = Compiler.compile(imdecode), Compiler.compile(resize_crop)

            def decode(rows: Any, out: Any, metadata: Any, storage: Any) -> Any:
                failed = np.zeros(len(rows), np.bool_)
                for at in each(len(rows)):
                    index, top, left, height, width = rows[at]
                    field = metadata[index]
                    content = stored(field["data_ptr"], storage)
                    h, w = np.uint32(field["height"]), np.uint32(field["width"])
                    if field["mode"] == jpg:
                        image = np.empty((h, w, 3), np.uint8)
                        failed[at] = decompress(content, image, h, w, h, w, 0, 0, 1, 1, False, False) != 0
                    else:
                        image = content.reshape(h, w, 3)
                    resize(image, top, top + height, left, left + width, out[at])
                if failed.any():  # a raise inside the loop would keep numba from running it in parallel
                    raise ValueError("a JPEG cannot be decoded")
                return out[: len(rows)]

            decode.is_parallel = True  # type: ignore[attr-defined]
            return decode

    return WindowDecoder()
