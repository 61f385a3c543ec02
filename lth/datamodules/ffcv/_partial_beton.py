"""An incomplete .beton file: encoded images in pages, and a record of each image, so that writing can be resumed.

FFCV's own writer cannot resume, and hangs if one of its processes fails. This one writes the same format image by image
and resumes after the last image that is complete in both files.
"""

import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

PAGE = 8 << 20  # bytes; FFCV reads whole pages if os_cache is false
RECORD = np.dtype(
    [
        ("mode", "u1"),
        ("height", "<u2"),
        ("width", "<u2"),
        ("label", "<i8"),
        ("at", "<u8"),
        ("size", "<u8"),
        ("crc", "<u4"),
    ]
)


def _data_start(samples: int) -> int:
    """Offset of the first page: after header, fields and metadata, a multiple of the page size."""
    from ffcv.types import FieldDescType, HeaderType, get_metadata_type

    fields = _fields()
    length = HeaderType.itemsize + len(fields) * FieldDescType.itemsize
    length += samples * get_metadata_type(list(fields.values())).itemsize
    return -(-length // PAGE) * PAGE


def _fields() -> dict[str, Any]:
    """Name -> field of the file, in order."""
    from ffcv.fields import IntField, RGBImageField

    return {"image": RGBImageField(), "label": IntField()}


class PartialBeton:
    """The folder `<target>.partial` with pages, records and settings.

    target: the .beton file to write
    samples: number of images it will have
    settings: everything the encoded images depend on; a folder with other settings is emptied
    """

    def __init__(self, target: Path, samples: int, settings: Mapping[str, Any]) -> None:
        self.target, self.samples = target, samples
        self.folder = target.with_name(target.name + ".partial")
        self.begin = _data_start(samples)
        text = json.dumps(dict(settings), sort_keys=True)
        stored = self.folder / "settings.json"
        if not stored.is_file() or stored.read_text() != text:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            (self.folder / "pages").touch()
            (self.folder / "records").touch()
            stored.write_text(text)  # last: a folder without settings is emptied
        self.records = self._whole()
        self.at = int(self.records["at"][-1] + self.records["size"][-1]) if len(self.records) else self.begin
        self._truncate()

    def _whole(self) -> NDArray[Any]:
        """The records up to the first image that is incomplete or damaged in the pages."""
        content = (self.folder / "records").read_bytes()
        records = np.frombuffer(content[: len(content) // RECORD.itemsize * RECORD.itemsize], RECORD)
        with (self.folder / "pages").open("rb") as pages:
            for index, record in enumerate(records):
                if not _is_intact(pages, record):
                    return records[:index]
        return records

    def _truncate(self) -> None:
        os.truncate(self.folder / "records", self.records.nbytes)
        os.truncate(self.folder / "pages", self.at)

    def append(self, encoded: Iterator[tuple[int, int, int, int, bytes]]) -> Iterator[int]:
        """Write images; yields the number of images written so far after each.

        encoded: (mode, height, width, label, content) of each image

        Raises ValueError for an image larger than a page.
        """
        with (self.folder / "pages").open("r+b") as pages, (self.folder / "records").open("ab") as records:
            for count, (mode, height, width, label, content) in enumerate(encoded, len(self.records) + 1):
                at = _place(self.at, len(content))
                pages.seek(at)
                pages.write(content)
                record = (mode, height, width, label, at, len(content), zlib.crc32(content))
                records.write(np.array(record, RECORD).tobytes())
                self.at = at + len(content)
                yield count
        self.records = self._whole()

    def finish(self, check: Callable[[Path], None]) -> None:
        """Complete the file, `check` it, and move it to `target`.

        check: function of a path that raises an error if the file is wrong

        Raises ValueError if images are missing.
        """
        if len(self.records) != self.samples:
            raise ValueError(
                f"{self.folder} holds {len(self.records)} of {self.samples} images; write the others first"
            )
        path = self.folder / "pages"
        with path.open("r+b") as pages:
            end = -(-self.at // PAGE) * PAGE  # FFCV reads whole pages
            pages.truncate(end)
            self._describe(pages, end)
            pages.flush()
            os.fsync(pages.fileno())
        check(path)
        os.replace(path, self.target)
        descriptor = os.open(self.target.parent, os.O_RDONLY)
        os.fsync(descriptor)  # sync the new name too
        os.close(descriptor)
        shutil.rmtree(self.folder)

    def _describe(self, pages: BinaryIO, end: int) -> None:
        """Write header, fields and metadata at the beginning, and the table of image positions at the end."""
        from ffcv.types import ALLOC_TABLE_TYPE, CURRENT_VERSION, TYPE_ID_HANDLER, FieldDescType, HeaderType

        fields = _fields()
        header = np.zeros(1, HeaderType)
        for key, value in {"version": CURRENT_VERSION, "num_fields": len(fields), "page_size": PAGE}.items():
            header[key] = value
        header["num_samples"], header["alloc_table_ptr"] = self.samples, end
        numbers = {kind: number for number, kind in TYPE_ID_HANDLER.items()}
        described = np.zeros(len(fields), FieldDescType)
        for row, (name, field) in zip(described, fields.items(), strict=True):
            row["type_id"] = numbers[type(field)]
            row["name"][: len(name)] = np.frombuffer(name.encode(), "u1")
            row["arguments"][:] = field.to_binary()[0]
        pages.seek(0)
        pages.write(header.tobytes() + described.tobytes() + self._metadata(fields).tobytes())
        table = np.zeros(self.samples, ALLOC_TABLE_TYPE)
        table["sample_id"], table["ptr"] = np.arange(self.samples), self.records["at"]
        table["size"] = self.records["size"]
        pages.seek(end)
        pages.write(table.tobytes())

    def _metadata(self, fields: Mapping[str, Any]) -> NDArray[Any]:
        from ffcv.types import get_metadata_type

        metadata = np.zeros(self.samples, get_metadata_type(list(fields.values())))
        for key, source in {"mode": "mode", "height": "height", "width": "width", "data_ptr": "at"}.items():
            metadata["f0"][key] = self.records[source]
        metadata["f1"] = self.records["label"]
        return metadata


def _place(at: int, size: int) -> int:
    """Offset for `size` bytes at or after `at`: an image must not cross a page boundary."""
    if size > PAGE:
        raise ValueError(f"an image of {size} bytes; valid: up to {PAGE}: give a smaller --max-side, or --store jpg")
    return at if at // PAGE == (at + size - 1) // PAGE else -(-at // PAGE) * PAGE


def _is_intact(pages: BinaryIO, record: Any) -> bool:
    """Whether the pages hold the image of a record, unchanged."""
    pages.seek(int(record["at"]))
    content = pages.read(int(record["size"]))
    return len(content) == record["size"] and zlib.crc32(content) == record["crc"]
