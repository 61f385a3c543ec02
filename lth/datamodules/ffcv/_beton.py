"""Images from FFCV's .beton files (Leclerc et al. 2023), decoded by FFCV in threads of this process.

FFCV's random transforms use numba's generator of the thread they run in, which cannot be seeded or resumed. Instead,
the decoder here takes crop windows as input, so that its output depends on them only.
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

from lth.datamodules._image_loader import Cut

_FIELDS = ("image", "label")


def import_ffcv() -> Any:
    """The package ffcv. Raises ImportError that says how to install it."""
    try:
        import ffcv.loader
    except ImportError as error:
        raise ImportError(
            f"dataset.loader=ffcv needs FFCV ({error}): install Debian's libopencv-dev libturbojpeg0-dev pkg-config, "
            "then `make ffcv` or pip install 'lth[ffcv]'; or take dataset.loader=torchvision"
        ) from error
    return ffcv


class Beton:
    """A `Source` of the images in one .beton file with the fields image and label.

    workers: number of threads that decode

    Raises ValueError for a file that is damaged or has other fields, and for workers out of range.
    """

    def __init__(self, path: Path, workers: int) -> None:
        self.path, self.workers, self.ffcv = path, workers, import_ffcv()
        threads = max_threads()
        if not 1 <= workers <= threads:
            raise ValueError(f"dataset.workers={workers}; valid with dataset.loader=ffcv here: 1..{threads}")
        reader = open_beton(path)
        images, labels = (reader.metadata[f"f{reader.field_names.index(name)}"] for name in _FIELDS)
        self.sizes = np.stack([images["height"], images["width"]], 1).astype(np.int64)
        self.labels = torch.from_numpy(labels.astype(np.int64))
        self.loader: Any = None

    def read(self, samples: Tensor, cut: Cut, pixels: int, batch_size: int) -> Iterator[Tensor]:
        """See `Source.read`. FFCV reuses the memory of a batch."""
        if not len(samples):
            return
        order = samples.numpy()
        rows = np.ascontiguousarray(np.column_stack([order, cut(self.sizes, 0)[order]]), dtype=np.int64)
        with _torch_threads_kept():
            reading = self._start(rows, pixels, batch_size)
            images = self._next(reading)
        try:
            while images is not None:
                yield images
                images = self._next(reading)
        finally:
            _stop(reading)

    def _start(self, rows: Any, pixels: int, batch_size: int) -> Any:
        """Start FFCV's thread for one pass. The loader is kept for the next pass, as compiling it takes seconds."""
        if self.loader is None:
            self.loader = _loader(self.path, self.workers)
        self.loader.decoder.pixels, self.loader.batch_size = pixels, batch_size
        self.ffcv.pipeline.Compiler.set_num_threads(self.workers)
        return self.ffcv.loader.epoch_iterator.EpochIterator(self.loader, rows)

    def _next(self, reading: Any) -> Tensor | None:
        """The next batch, or None after the last. FFCV's own `next` never returns if its thread failed."""
        while True:
            with suppress(Empty):
                batch = reading.output_queue.get(timeout=0.5)
                return None if batch is None else batch[1][0]
            if not reading.is_alive() and reading.output_queue.empty():
                raise ValueError(f"{self.path}: an image cannot be decoded; delete the file and write it again")


def _stop(reading: Any) -> None:
    """End FFCV's thread, which otherwise keeps running with its memory and file."""
    reading.iter_ixes = iter(())  # the thread ends after its current batch
    while reading.is_alive():
        with suppress(Empty):
            reading.output_queue.get(timeout=0.05)  # makes room for that batch in the queue
    reading.join()


@contextmanager
def _torch_threads_kept() -> Iterator[None]:
    """Restore torch's number of threads, which FFCV changes: it affects speed and the last bits of results."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def max_threads() -> int:
    """The largest number of threads that FFCV's compiler can use."""
    return import_module("numba").config.NUMBA_NUM_THREADS


def open_beton(path: Path) -> Any:
    """FFCV's reader of a file. Raises ValueError if the file is incomplete, damaged or has other fields."""
    from ffcv.reader import Reader

    try:
        with _torch_threads_kept():
            reader = Reader(str(path))
    except (AssertionError, ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a .beton file, or damaged: {error}") from error
    ends = reader.alloc_table["ptr"] + reader.alloc_table["size"]
    size, wanted = path.stat().st_size, int(ends.max(initial=np.uint64(0)))
    if (
        not len(reader.metadata) == reader.num_samples == len(np.unique(reader.alloc_table["sample_id"]))
        or wanted > size
    ):
        raise ValueError(f"{path} is damaged or was not written to its end: {size} bytes; write it again")
    if missing := set(_FIELDS) - set(reader.field_names):
        raise ValueError(f"{path} lacks the fields {sorted(missing)}; it has {reader.field_names}")
    return reader


def _loader(path: Path, workers: int) -> Any:
    """FFCV's loader of the images, with its own decoder: a decoder shared by two loaders mixes their images."""
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import ToTensor, ToTorchImage

    decoder = _window_decoder()
    loader = Loader(
        str(path),
        batch_size=1,  # set for each pass
        num_workers=workers,
        os_cache=True,
        order=OrderOption.SEQUENTIAL,  # unused: each pass has its own order
        seed=0,  # without it FFCV draws one from numpy's global generator
        pipelines={"image": [decoder, ToTensor(), ToTorchImage()], "label": None},
        drop_last=False,
    )
    loader.decoder = decoder
    return loader


def _window_decoder() -> Any:
    """An FFCV decoder of rows (image, top, left, height, width), which returns that window resized to `pixels`.

    The rows take the place of sample indices, which FFCV passes to the decoder unchanged.
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
                if failed.any():  # numba runs a loop that raises in one thread only
                    raise ValueError("a JPEG cannot be decoded")
                return out[: len(rows)]

            decode.is_parallel = True  # type: ignore[attr-defined]
            return decode

    return WindowDecoder()
