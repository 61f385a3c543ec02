"""Wrong values through the real command line: one line, code 1, no folder; valid ones train or are refused alike."""

import random
from pathlib import Path

import pytest

from lth.cli._valid import entries
from tests.cli.test_valid import VALUES, composed
from tests.support.commands import run_py
from tests.support.harness import SMALL

SAMPLE = 200
AS_WRITTEN = {  # of VALUES on a command line
    "word": "no",
    "number as text": "'1'",
    "empty": "''",
    "NaN": "nan",
    "infinite": "inf",
    "negative": "-1",
    "zero": "0",
    "huge": str(10**30),
    "fraction": "1.5",
    "true": "true",
    "list": "[1,a]",
    "empty list": "[]",
    "mapping": "{a: 1}",
    "null": "null",
}
METHODS = ("imp", "rigl", "gem_miner", "str", "snip", "ssl", "sanity")
LENGTHS = ("recipe.epochs", "recipe.steps", "dataset.train_size", "dataset.test_size", "recipe.batch_size")


def overrides(seed: int) -> list[tuple[str, str]]:
    """A sample of pairs of method and override, every value of which is equally likely."""
    pairs = []
    for method in METHODS:
        for entry in entries(composed(method)):
            first = entry.key.partition(".")[0]
            if entry.valid is None or entry.interpolated or entry.key.rpartition(".")[2].startswith("_"):
                continue
            if (
                first in ("recipe", "method", "sparsity", "seeds", "trainer", "prunable", "support")
                or "." not in entry.key
            ):
                pairs += [(method, f"{entry.key}={text}") for text in AS_WRITTEN.values()]
    return random.Random(seed).sample(sorted(set(pairs)), SAMPLE)


def test_every_value_can_be_written():
    assert AS_WRITTEN.keys() == VALUES.keys()


@pytest.mark.engine
@pytest.mark.parametrize("seed", [0])
def test_no_mistake_gives_a_traceback_or_leaves_a_folder(seed: int, tmp_path: Path):
    found = []
    for index, (method, override) in enumerate(overrides(seed)):
        folder = tmp_path / str(index)
        given = () if override.startswith("folder=") else (f"folder={folder}",)
        small = [*SMALL, f"method={method}", "recipe.epochs=2", "sparsity.density=0.5", "hydra.mode=RUN", *given]
        result = run_py(*small, override, cwd=tmp_path)
        lines = result.stderr.strip().splitlines()
        if (
            "Traceback" in result.stderr
            or (result.returncode == 1 and folder.exists())
            or result.returncode not in (0, 1)
        ):
            found.append((method, override, result.returncode, folder.exists(), lines[-1:]))
    assert found == []
