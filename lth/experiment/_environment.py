"""Records versions, source revision and hardware of a result; silences Lightning's banners."""

import logging
import os
import platform
import subprocess
import warnings
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities import registry

_PACKAGES = ("lth", "torch", "torchvision", "pytorch-lightning", "hydra-core", "omegaconf", "torchmetrics", "numpy")


def environment() -> dict[str, Any]:
    """Versions of the libraries, git revisions, hardware and thread count.

    `git` is the revision of lth, None where it is installed from a wheel. `project` is that of the current folder,
    which may hold code of the user's own.
    """
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "git": _git(Path(__file__)),
        "project": _git(Path.cwd()),
        "hardware": {
            "cpu": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
    }


def quiet_lightning() -> None:
    """Silence the banners and tips that Lightning prints for every Trainer; a run makes one per level.

    Also caches the list of installed callbacks, for which every Trainer reads the metadata of all packages.
    """
    if registry.entry_points is entry_points:
        vars(registry).update(entry_points=cache(entry_points))
    for name in ("utilities.rank_zero", "accelerators.cuda", "trainer.connectors.checkpoint_connector"):
        logging.getLogger(f"pytorch_lightning.{name}").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*number of training batches .* is smaller than the logging interval.*")
    warnings.filterwarnings("ignore", ".*Total length of .* across ranks is zero.*")  # dataset.val_size=0
    warnings.filterwarnings("ignore", ".*srun. command is available.*")  # a machine with Slurm, outside a Slurm job
    warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated.*")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(path: Path) -> str | None:
    """The revision of the repository that tracks `path`, with `+changes` when its tree differs; None where none does.

    A virtual environment inside a repository is not tracked by it, so its files give None.
    """
    folder = path if path.is_dir() else path.parent
    tracked = ["git", "-C", str(folder), "ls-files", "--error-unmatch", "." if path.is_dir() else path.name]
    describe = ["git", "-C", str(folder), "describe", "--always", "--dirty=+changes", "--abbrev=12"]
    try:
        subprocess.run(tracked, capture_output=True, check=True)
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
