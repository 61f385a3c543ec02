"""A run's folder: its lock, its files, and which levels are finished."""

import errno
import json
import os
import re
import shutil
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from lth.storage._seal import check_trailer, checked, sealed, with_trailer
from lth.storage._temporaries import remove_left_by_dead
from lth.storage._yaml import load_cached, load_yaml
from lth.storage.atomic import write_text
from lth.storage.flat import flattened
from lth.storage.renamed import REMOVED

# Keys that affect where and how a run executes, not what it computes: a resumed run may differ in these.
NOT_IDENTITY = (
    "folder",
    "published",
    "method.needs",  # its values are also in `model`
    "overwrite",
    "logger",
    "checkpoint_seconds",
    "keep",
    "threads",
    "dataset.root",
    "dataset.cache",
    "dataset.workers",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.enable_progress_bar",
)
# In the entry `series` of config.yaml: values that follow from the seed and from sparsity.density.
SEED, DENSITY = "<seed>", "<density>"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
LEVEL = re.compile(r"level_\d{2,}_")


@dataclass(frozen=True)
class _Artefact:
    """A file or folder that a run or a command writes into the run's folder.

    pattern: a glob relative to that folder; a folder stands for all it holds
    writer: the module that writes it
    stays: True if `overwrite=true` does not remove everything that matches the pattern
    """

    pattern: str
    writer: str
    stays: bool = False


REWIND_POINTS = ("rewind.ckpt", "initial.ckpt", "early.ckpt")  # files of the methods' rewind points
# Whatever writes a file into a run's folder has a line here, or `overwrite=true` leaves the file behind.
ARTEFACTS = (
    _Artefact(".lock", "lth.storage.folder", stays=True),  # held by the process that overwrites
    # last.ckpt, ticket.safetensors, finished; tables of `lth sensitivity`. Other files that begin with `level_` stay
    _Artefact("level_*", "lth.experiment.loop", stays=True),
    *(_Artefact(name, "lth.callbacks.boundary.rewind") for name in REWIND_POINTS),
    _Artefact(f"starting_weights_{'[0-9a-f]' * 32}.safetensors", "lth.tickets._shared"),
    _Artefact("metrics.csv", "lth.storage.curves_file"),
    _Artefact("tensorboard", "lth.loggers.tensorboard"),
    _Artefact("wandb", "lth.loggers.weights_and_biases"),
    _Artefact("results.csv", "lth.report.results"),
    _Artefact("layers.csv", "lth.report.results"),
    _Artefact("topology.csv", "lth.report.results"),
    _Artefact("events.csv", "lth.report.results"),
    _Artefact("curve.png", "lth.experiment.loop"),
    _Artefact("topology.png", "lth.experiment.loop"),
    _Artefact("connectivity.csv", "lth.cli._connectivity"),
    _Artefact("connectivity.png", "lth.cli._connectivity"),
    _Artefact("around_pruning.csv", "lth.cli._connectivity"),
    _Artefact("hessian.csv", "lth.cli._connectivity"),
    _Artefact("error.txt", "lth.storage.folder"),
    _Artefact("config.yaml", "lth.storage.folder"),  # removed last: without it the rest belongs to no known run
)


def _never(key: str) -> bool:
    return False


class RunFolder:
    """One experiment's folder. Writing is for rank 0 only."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock while the block runs.

        Raises ValueError when another process holds it, and OSError where it cannot be made or locked.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(
                f"another process is working in {self.path}; wait for it or choose another folder"
            ) from None
        except (OSError, NotImplementedError) as error:  # the second: filelock, where the file system has no flock
            number = getattr(error, "errno", None) or errno.ENOLCK
            raise OSError(number, f"cannot be locked ({os.strerror(number)})", str(self.path / ".lock")) from None
        try:
            yield
        finally:
            lock.release()

    def claim(
        self,
        config: Mapping[str, Any],
        record: Mapping[str, Any],
        overwrite: bool = False,
        series: Mapping[str, Any] | None = None,
        levels: int | None = None,
        is_default: Callable[[str], bool] = _never,
    ) -> None:
        """Store the configuration in config.yaml, or check that the folder already holds this one.

        config: the resolved configuration
        record: versions and hardware the run starts with
        overwrite: remove what lth wrote in the folder, then start over
        series: the configuration that all replicates and densities of the experiment share
        levels: how many levels the run has when it is complete
        is_default: whether a key, `a.b.c`, has its default; such a key may be missing in a folder that an earlier
            version wrote

        Raises ValueError naming the keys in which the stored configuration differs.
        """
        stored = _content_of(self.path / "config.yaml")
        self._remove_temporaries()
        if stored is None and self.levels and not overwrite:
            raise ValueError(
                f"{self.path} holds levels, but no config.yaml that says of what. "
                "Choose another folder=..., or overwrite=true to start over"
            )
        if overwrite and (stored is not None or self.levels):
            self.clear()
            stored = None
        if stored is None:
            content = {"config": dict(config), "record": dict(record), "levels": levels, "series": series}
            text = yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False)
            write_text(self.path / "config.yaml", with_trailer(text))
            return
        differing = different_keys(stored["config"], config, is_default)
        if differing:
            raise ValueError(
                f"{self.path} holds another configuration; these keys differ (there -> now): "
                + ", ".join(differing)
                + ". Choose another folder=..., or overwrite=true to start over"
            )

    def holds(self, config: Mapping[str, Any], levels: int, is_default: Callable[[str], bool] = _never) -> bool:
        """Whether a run of this configuration is finished here, with all its levels. Arguments as for `claim`."""
        stored = _content_of(self.path / "config.yaml")
        same = stored is not None and not different_keys(stored["config"], config, is_default)
        return same and all_finished(self.path, levels)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Write error.txt if the block fails: the message, then the traceback. A new attempt removes it."""
        (self.path / "error.txt").unlink(missing_ok=True)
        try:
            yield
        except Exception as error:
            text = f"{type(error).__name__}: {error}\n\n{traceback.format_exc()}"
            with suppress(OSError):  # the disk may be full; the error itself says more
                write_text(self.path / "error.txt", text)
            raise

    def clear(self) -> None:
        """Remove what `ARTEFACTS` lists, later levels first. Other files stay."""
        for level in reversed(self.levels):
            (level / "finished").unlink(missing_ok=True)  # first, so that a half-removed level never looks finished
            shutil.rmtree(level)
        for path in [path for each in ARTEFACTS if not each.stays for path in self.path.glob(each.pattern)]:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def has_picture(self, name: str) -> bool:
        """Whether a PNG file exists and is complete. Earlier versions did not write pictures atomically."""
        path = self.path / name
        return path.is_file() and path.read_bytes().endswith(_PNG_END)

    def configuration(self) -> dict[str, Any]:
        """The resolved configuration of the run that the folder holds. Raises ValueError where it holds none."""
        return dict(self.stored()["config"])

    def stored(self, shared: bool = False) -> dict[str, Any]:
        """The content of config.yaml; if `shared`, cached and not to be changed. Raises ValueError if there is none."""
        stored = _content_of(self.path / "config.yaml", load_cached if shared else load_yaml)
        if stored is None:
            raise ValueError(f"{self.path} holds no run of lth: it has no config.yaml")
        return dict(stored)

    def finished(self, level: Path) -> dict[str, Any] | None:
        """The outcome of a finished level: row, layers, curves, events and topology; None if it is not finished.

        Raises ValueError for a damaged file.
        """
        marker = level / "finished"
        if not marker.is_file():
            return None
        try:
            outcome = checked(marker, json.loads(marker.read_text()))
            assert isinstance(outcome["row"], dict), "it has no row"
        except OSError:  # a failing disk does not mean that the file is damaged
            raise
        except Exception as error:
            raise ValueError(f"{marker} is damaged ({error}); delete it to finish its level again") from None
        return outcome

    def finish(self, level: Path, outcome: Mapping[str, Any]) -> None:
        """Mark a level finished, with its outcome: row, layers, curves, events and topology."""
        marker, as_read = level / "finished", json.loads(json.dumps(outcome))  # keys become text, tuples lists
        write_text(marker, json.dumps(sealed(marker, as_read), indent=1))

    def _remove_temporaries(self) -> None:
        """Remove temporary files of killed writers. Files with similar names that lth does not write stay."""
        remove_left_by_dead(self.path, lambda name: any(fnmatch(name, each.pattern) for each in ARTEFACTS))
        for level in self.levels:
            remove_left_by_dead(level, lambda name: True)

    @property
    def levels(self) -> list[Path]:
        """The folders of the levels that were begun, by index."""
        found = (path for path in self.path.glob("level_*") if LEVEL.match(path.name) and path.is_dir())
        return sorted(found, key=lambda path: int(path.name.split("_")[1]))


def _content_of(path: Path, load: Callable[[bytes], Any] = load_yaml) -> Any:
    """The content of a config.yaml; None where there is none. Raises ValueError for a file that lth did not write."""
    if not path.exists():
        return None
    try:
        data = path.read_bytes()
        content = load(data)
    except (yaml.YAMLError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not {"config", "record"} <= set(content):
        raise ValueError(f"{path} was not written by lth: it is not a run's folder. Choose another folder=...")
    try:
        check_trailer(data)
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}). Choose another folder=..., or restore it") from None
    return content


def all_finished(folder: Path, planned: int | None) -> bool:
    """Whether a run in `folder` has finished all its levels.

    planned: number of its levels in config.yaml; None for folders of earlier versions, which do not store it. There
        curve.png, drawn after the last level, must exist and be complete.
    """
    run = RunFolder(folder)
    begun = run.levels
    finished = sum((level / "finished").is_file() for level in begun)
    last = run.has_picture("curve.png") if planned is None else finished == planned
    return 0 < finished == len(begun) and last


def different_keys(old: Any, new: Any, is_default: Callable[[str], bool] = _never) -> list[str]:
    """`key: old -> new` of every leaf in which two configurations differ.

    old: the stored configuration, perhaps of an earlier version
    new: the present one
    is_default: whether a key of `new` has its default; then `old` may lack it

    Dotted paths that were renamed between the versions are equal. Keys in `NOT_IDENTITY` are not compared.
    """
    a, b = flattened(old), flattened(new)
    differing = []
    for key in [*a, *(k for k in b if k not in a)]:
        was, now = a.get(key, "absent"), b.get(key, "absent")
        if was == now or _exempt(key) or (key not in b and key in REMOVED):
            continue
        if key in a or not is_default(key):
            differing.append(f"{key}: {was!r} -> {now!r}")
    return differing


def _exempt(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in NOT_IDENTITY)
