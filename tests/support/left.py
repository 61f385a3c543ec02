"""What a run left in its folder, in a form in which two runs can be compared."""

import csv
import json
from pathlib import Path
from typing import Any

import torch

from lth.pruning.masks import fingerprint
from lth.storage.checkpoint import load_checkpoint
from lth.storage.packing import Packed
from lth.tickets import Ticket


def unseal(folder: Path) -> None:
    """Remove the checksums of a run's files, as an earlier version left them, so that a test may change them."""
    config = folder / "config.yaml"
    config.write_text(config.read_text().partition("# sha256: ")[0])
    for marker in folder.glob("level_*/finished"):
        outcome = json.loads(marker.read_text())
        outcome.pop("seal", None)
        marker.write_text(json.dumps(outcome))
    for path in [*folder.glob("*.ckpt"), *folder.glob("level_*/*.ckpt")]:
        content = torch.load(path, weights_only=True)
        content.pop("seal", None)
        torch.save(Packed.unpacked(content), path)


def rows(folder: Path) -> list[dict[str, str]]:
    """results.csv without the times."""
    with (folder / "results.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def curves(folder: Path) -> list[dict[str, str]]:
    """metrics.csv without the times."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def state(folder: Path, optimizer: bool = True) -> dict[str, Any]:
    """Everything an experiment left that must not depend on interruptions, as hashes and rows.

    optimizer: with digests of the optimizers' states, which only experiments run by `harness` leave
    """
    left: dict[str, Any] = {"results": rows(folder), "curves": curves(folder)}
    for level in sorted(folder.glob("level_*")):
        checkpoint = load_checkpoint(level / "last.ckpt")
        ticket = Ticket.load(level / "ticket.safetensors")
        left[level.name] = {
            "weights": fingerprint(checkpoint["state_dict"]),
            "masks": fingerprint(checkpoint.get("masks", {})),
            "optimizer": [each.get("digest") for each in checkpoint["optimizer_states"] if optimizer],
            "ticket": fingerprint({**ticket.weights, **ticket.masks}),
        }
    return left
