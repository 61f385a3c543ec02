"""A .beton file in the making: encoded images in pages, one record for each, so that a conversion can be resumed.

FFCV's own writer starts over after an interruption, and waits for ever when one of its processes fails. This one writes
the same format, image after image; whatever was interrupted goes on behind the last image that both files hold whole.
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

PAGE = 8 << 20  # bytes; FFCV reads whole pages when it does not leave caching to the system
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


def start_of_data(samples: int) -> int:
    """Where the first page begins: behind header, fields and metadata, at a multiple of the page's size."""
    from ffcv.types import FieldDescType, HeaderType, get_metadata_type

    fields = ffcv_fields()
    length = HeaderType.itemsize + len(fields) * FieldDescType.itemsize
    length += samples * get_metadata_type(list(fields.values())).itemsize
    return -(-length // PAGE) * PAGE


def ffcv_fields() -> dict[str, Any]:
    """The fields of the file, by name, in order."""
    from ffcv.fields import IntField, RGBImageField

    return {"image": RGBImageField(), "label": IntField()}


class BetonParts:
    """The folder `<file>.partial`: pages, records, and the settings that made them.

    settings: whatever decides the bytes; a folder of other settings is started over.
    """

    def __init__(self, target: Path, samples: int, settings: Mapping[str, Any]) -> None:
        self.target, self.samples = target, samples
        self.folder = target.with_name(target.name + ".partial")
        self.begin = start_of_data(samples)
        text = json.dumps(dict(settings), sort_keys=True)
        stored = self.folder / "settings.json"
        if not stored.is_file() or stored.read_text() != text:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            (self.folder / "pages").touch()
            (self.folder / "records").touch()
            stored.write_text(text)  # last: without it the folder is started over
        self.records = self._whole()
        self.at = int(self.records["at"][-1] + self.records["size"][-1]) if len(self.records) else self.begin
        self._truncate()

    def _whole(self) -> NDArray[Any]:
        """The records, up to the first of an image that the pages do not hold as it was written."""
        content = (self.folder / "records").read_bytes()
        records = np.frombuffer(content[: len(content) // RECORD.itemsize * RECORD.itemsize], RECORD)
        with (self.folder / "pages").open("rb") as pages:
            for index, record in enumerate(records):
                if not holds(pages, record):
                    return records[:index]
        return records

    def _truncate(self) -> None:
        os.truncate(self.folder / "records", self.records.nbytes)
        os.truncate(self.folder / "pages", self.at)

    def append(self, encoded: Iterator[tuple[int, int, int, int, bytes]]) -> Iterator[int]:
        """Write images (mode, height, width, label, content); yields how many there are after each.

        ValueError for one that no page can hold.
        """
        with (self.folder / "pages").open("r+b") as pages, (self.folder / "records").open("ab") as records:
            for count, (mode, height, width, label, content) in enumerate(encoded, len(self.records) + 1):
                at = place(self.at, len(content))
                pages.seek(at)
                pages.write(content)
                record = (mode, height, width, label, at, len(content), zlib.crc32(content))
                records.write(np.array(record, RECORD).tobytes())
                self.at = at + len(content)
                yield count
        self.records = self._whole()

    def finish(self, check: Callable[[Path], None]) -> None:
        """Turn the pages into a file that FFCV reads, `check` it, and only then give it its name."""
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
        os.fsync(descriptor)  # the name too
        os.close(descriptor)
        shutil.rmtree(self.folder)

    def _describe(self, pages: BinaryIO, end: int) -> None:
        """Header, fields and metadata at the beginning, the table of places at the end."""
        from ffcv.types import ALLOC_TABLE_TYPE, CURRENT_VERSION, TYPE_ID_HANDLER, FieldDescType, HeaderType

        fields = ffcv_fields()
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


def place(at: int, size: int) -> int:
    """Where `size` bytes go that would begin at `at`: no image crosses from one page into the next."""
    if size > PAGE:
        raise ValueError(f"an image of {size} bytes; valid: up to {PAGE}: give a smaller --max-side, or --store jpg")
    return at if at // PAGE == (at + size - 1) // PAGE else -(-at // PAGE) * PAGE


def holds(pages: BinaryIO, record: Any) -> bool:
    """Whether the image of a record lies in the file as it was written."""
    pages.seek(int(record["at"]))
    content = pages.read(int(record["size"]))
    return len(content) == record["size"] and zlib.crc32(content) == record["crc"]
