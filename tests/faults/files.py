"""Damaged files: each kind of file that a run leaves, changed in many ways, then the same command again.

A changed file must be refused in one line that names it, or change nothing. It must open no connection and no file that
it names.
"""

import io
import json
import os
import pickle
import random
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lth.datamodules import _image_cache
from lth.report.output import Row
from tests.faults import disk
from tests.support import photographs
from tests.support.harness import _start, configuration
from tests.support.left import state

LADDER = ("method=imp", "method.rewind=2it", "sparsity=list", "sparsity.densities=[0.5,0.3]", "recipe.epochs=2")
KINDS = (
    "last.ckpt",
    "rewind.ckpt",
    "finished",
    "config.yaml",
    "metrics.csv",
    "ticket.safetensors",
    "starting weights",
    "results.csv",
)
CACHES = ("cache of images",)
_CANARY = "canary"  # in every name of a file or address that a changed file holds
_OUTSIDE = [False]  # whether this process opened a connection or a file of that name


class _Runs:
    """An object whose pickle runs a command when it is loaded; the command makes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {_CANARY}",)


class Interrupted:
    """A run that was killed in its third level, and the state of the same run undisturbed.

    root: folder for both, and for a run with another seed
    """

    def __init__(self, root: Path):
        self.root = root
        placed = configuration(root / "killed", *LADDER), configuration(root / "other", *LADDER, "seed=1")
        assert _start([([placed[0]], ("step", 22), {})]) == [-9]
        assert _start([([placed[1]], ("step", 22), {}), ([configuration(root / "whole", *LADDER)], None, {})])[1] == 0
        self.whole = state(root / "whole")
        self.number = 0

    def try_variant(self, kind: str, content: bytes) -> str:
        """What is wrong when the run goes on with a changed file: empty where nothing is."""
        self.number += 1
        folder = self.root / f"try{self.number}"
        shutil.copytree(self.root / "killed", folder)
        path = self.path(folder, kind)
        path.write_bytes(content)
        place = folder if kind == "config.yaml" else path  # that of another experiment: its folder is named
        code, printed = disk.in_process(folder, LADDER, before=watch)
        if "outside" in printed or Path(_CANARY).exists():
            return f"it opened another file or a connection: {printed[-300:]}"
        if code == 0:
            wrong = "" if state(folder) == self.whole else "other results"
        else:
            lines = [line for line in printed.splitlines() if line.startswith("error:")]
            named = len(lines) == 1 and str(place) in lines[0] and code == 1 and "Traceback" not in printed
            wrong = "" if named else f"code {code}: {printed[-500:]}"
        shutil.rmtree(folder)
        return wrong if wrong else ("refused" if code else "no effect")

    def path(self, folder: Path, kind: str) -> Path:
        """The file of a kind that the run reads when it goes on."""
        if kind == "finished":
            return folder / "level_00_dense" / kind
        if kind == "starting weights":
            (shared,) = folder.glob("starting_weights_*.safetensors")
            return shared
        level = sorted(folder.glob("level_*"))[-1]
        return level / kind if kind in ("last.ckpt", "ticket.safetensors") else folder / kind

    def variants(self, kind: str, count: int) -> Iterator[tuple[str, bytes]]:
        """(name, content) of changed files: special ones first, then random cuts and flips."""
        sound = self.path(self.root / "killed", kind).read_bytes()
        first = self.root / "killed" / "level_00_dense" / kind
        special = dict(_of_everything())
        special["of another run"] = self.path(self.root / "other", kind).read_bytes()
        if first.is_file() and kind != "finished":
            special["of another level"] = first.read_bytes()
        if kind.endswith(".ckpt"):
            special |= _of_checkpoint(sound)
        if kind in ("finished", "config.yaml"):
            special |= _of_text(sound.decode())
        yield from (list(special.items()) + list(_random(sound, count)))[:count]


def watch() -> None:
    """Print a line when this process connects or opens what a changed file names."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        named = event in ("open", "subprocess.Popen", "os.system") and _CANARY in repr(arguments)
        if event == "socket.connect" or named:
            _OUTSIDE[0] = True
            os.write(2, f"outside: {event} {arguments!r:.200}\n".encode())

    sys.addaudithook(hook)


def _of_everything() -> Mapping[str, bytes]:
    nested = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."  # a list in a list in ...
    pickled = io.BytesIO()
    torch.save({"state_dict": {}}, pickled)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(_Runs()))
        file.writestr("archive/version", "3")
    return {
        "empty": b"",
        "code": pickle.dumps(_Runs()),
        "code in an archive": archive.getvalue(),
        "nested pickle": nested,
        "nested text": b"[" * 100_000,
        "nested mapping": b'{"a":' * 100_000,
        "someone else's checkpoint": pickled.getvalue(),
        "huge header": (1 << 60).to_bytes(8, "little") + b"{}",
        "zeros": bytes(5000),
        "link to a file": f"!include /{_CANARY}\n".encode(),
        "yaml code": f"!!python/object/apply:os.system ['touch {_CANARY}']\n".encode(),
    }


def _of_checkpoint(sound: bytes) -> Mapping[str, bytes]:
    """The content saved again with other values or types, with its old seal."""
    made = {}
    for name, change in {
        "NaN": lambda t: t * float("nan") if t.is_floating_point() else t,
        "half precision": lambda t: t.half() if t.is_floating_point() else t,
        "doubles": lambda t: t.double() if t.is_floating_point() else t,
        "one weight": lambda t: t + 1e-3 if t.is_floating_point() else t,
        "transposed": lambda t: t.t().contiguous() if t.dim() == 2 else t,
    }.items():
        content = torch.load(io.BytesIO(sound), weights_only=True)
        written = io.BytesIO()
        torch.save(_changed(content, change), written)
        made[name] = written.getvalue()
        unsealed = io.BytesIO()
        torch.save({k: v for k, v in _changed(content, change).items() if k != "seal"}, unsealed)
        made[f"{name}, without seal"] = unsealed.getvalue()
    return made


def _changed(value: Any, change: Any) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _changed(inner, change) for key, inner in value.items()}
    return [_changed(inner, change) for inner in value] if isinstance(value, list) else value


def _of_text(sound: str) -> Mapping[str, bytes]:
    made = {
        "another number": sound.replace("0.", "1.", 1),
        "NaN": sound.replace("0.", "NaN", 1),
        "a huge number": sound.replace("0.", "9" * 5000, 1),
        "a list": f"[{sound}]",
        "null": "null",
        "other lines first": f"a: {_CANARY}\n{sound}",
    }
    if sound.startswith("{"):
        content = json.loads(sound)
        made["without seal"] = json.dumps({k: v for k, v in content.items() if k != "seal"})
        made["without row"] = json.dumps({k: v for k, v in content.items() if k != "row"})
    return {name: text.encode() for name, text in made.items()}


def _random(sound: bytes, count: int) -> Iterator[tuple[str, bytes]]:
    draw = random.Random(len(sound))
    for number in range(count):
        kind, at = draw.choice(("cut", "flip", "flips", "zeros", "tail")), draw.randrange(len(sound))
        changed = bytearray(sound)
        if kind == "cut":
            changed = changed[:at]
        elif kind == "flip":
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == "flips":
            for _ in range(20):
                changed[draw.randrange(len(sound))] ^= 1 << draw.randrange(8)
        elif kind == "zeros":
            changed[at : at + 64] = bytes(len(changed[at : at + 64]))
        else:
            changed += draw.randbytes(1 + at % 500)
        yield f"{kind} {number} at {at}", bytes(changed)


class Cache:
    """A cache of decoded images, in the form that Tiny-ImageNet and Caltech-101 share."""

    def __init__(self, root: Path):
        self.path, self.samples = root / "cache.safetensors", []
        for label in range(2):
            for number in range(3):
                image = root / f"{label}_{number}.JPEG"
                image.write_bytes(photographs.jpeg(photographs.photograph(label, number, 16, 16)))
                self.samples.append((str(image), label))
        self.tensors = self.read()
        self.sound = self.path.read_bytes()

    def read(self) -> dict[str, Tensor]:
        return _image_cache.cached_images(self.path, {"all": self.samples}, 16)

    def variants(self, count: int) -> Iterator[tuple[str, bytes]]:
        yield from (list(_of_everything().items()) + list(_random(self.sound, count)))[:count]

    def try_variant(self, content: bytes) -> str:
        """As `Interrupted.try_variant`."""
        self.path.write_bytes(content)
        try:
            found = self.read()
        except ValueError as error:
            return "refused" if str(self.path) in str(error) and "\n" not in str(error) else f"it says {error}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        same = found.keys() == self.tensors.keys() and all(torch.equal(found[k], v) for k, v in self.tensors.items())
        return "no effect" if same else "other images"


def table(count: int) -> list[Row]:
    """Try `count` variants of each kind; rows of the table: kind, variants, refused, without effect, wrong."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        interrupted, cache = Interrupted(Path(folder)), Cache(Path(folder))
        for kind in (*KINDS, *CACHES):
            of_cache = kind in CACHES
            outcomes = []
            for name, content in cache.variants(count) if of_cache else interrupted.variants(kind, count):
                found = cache.try_variant(content) if of_cache else interrupted.try_variant(kind, content)
                outcomes.append(found)
                if found not in ("refused", "no effect"):
                    print(f"{kind}, {name}: {found}", flush=True)
            counted = {name: outcomes.count(name) for name in ("refused", "no effect")}
            wrong = len(outcomes) - sum(counted.values())
            rows.append({"file": kind, "variants": len(outcomes), **counted, "wrong": wrong})
            print(rows[-1], flush=True)
    return rows
