"""Finds runs in folders and says which are complete."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Run:
    """One run folder. rows: what its finished levels left."""

    path: Path
    config: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]
    complete: bool

    @property
    def group(self) -> str:
        """Runs that differ in the seed alone have the same group."""
        return str(self.path.parent)

    @property
    def seed(self) -> int:
        """The seed of the replicate."""
        return self.config["seed"]

    @property
    def label(self) -> str:
        """Method, model, dataset and other overrides, for tables and legends."""
        choices = self.config["choices"]
        folder = self.path.parent.name
        options = "" if folder.startswith(f"{choices['method']}-") else f" {folder}"
        return f"{choices['method']} {choices['model']} {choices['dataset']}{options}"


def collect(paths: Iterable[str | Path]) -> list[Run]:
    """The runs under `paths`, by folder name. Raises ValueError when there is none."""
    found = sorted({file.parent for path in paths for file in Path(path).rglob("config.yaml")})
    if not found:
        raise ValueError(f"no run under {', '.join(map(str, paths))}: a run's folder holds a config.yaml")
    return [read(folder) for folder in found]


def read(folder: Path) -> Run:
    """One run. It is complete when results.csv was written with its picture, after the last level."""
    config = yaml.safe_load((folder / "config.yaml").read_text())["config"]
    outcomes = [json.loads(marker.read_text()) for marker in sorted(folder.glob("level_*/finished"))]
    return Run(folder, config, tuple(o["row"] for o in outcomes), (folder / "curve.png").is_file())
