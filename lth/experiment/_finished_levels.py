"""Reduces the files of finished levels: to checkpoints without optimizer state, or to results alone.

A level's file `finished` is written before its other files are reduced. Every step can be repeated, so that a restart
completes what a killed process began.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lth.experiment._shrunk_mark import MARK, is_shrunk
from lth.plan import Level
from lth.storage.atomic import write_torch
from lth.storage.checkpoint import load_checkpoint, write_checkpoint
from lth.storage.folder import REWIND_POINTS
from lth.tickets import Ticket
from lth.training.ranks import assert_same

KEEP_OPTIONS = ("all", "results")
_REMOVED = "its run keeps the results of finished levels alone (keep=results)"


def shrink_finished(levels: Sequence[Level], keep: str, trained: int | None = None) -> None:
    """Make the checkpoints of finished levels small; with keep=results remove what no other level needs.

    levels: all levels of the run
    keep: `all`, or `results`: weights are removed when all levels that start from them are finished, except the last's
    trained: index of the level that was just trained, after all levels before it; only this level and its source are
        changed. None = all finished levels

    Rank 0 does it; the others wait, so that none reads a checkpoint that is being replaced.
    """
    if not rank_zero_only.rank:
        shrink_on_this_rank(levels, keep, trained)
    assert_same("levels", str(trained))


def shrink_on_this_rank(levels: Sequence[Level], keep: str, trained: int | None = None, own: bool = True) -> None:
    """Do the work of `shrink_finished` in this process, without waiting for other ranks.

    own: whether the checkpoints are of modules of lth; see `shrink_checkpoint`
    """
    if trained is None:
        looked_at = [level for level in levels if (level.folder / "finished").is_file()]
        finished = {level.index for level in looked_at}
    else:
        looked_at = [level for level in levels if level.index in (trained, levels[trained].source)]
        finished = set(range(trained + 1))
    needed = {level.source for level in levels if level.index not in finished} | {levels[-1].index}
    for level in looked_at:
        if keep == "results" and level.index not in needed:
            _remove_weights(level.folder)
        else:
            shrink_checkpoint(level.folder / "last.ckpt", own)
    run = levels[0].folder.parent
    if keep == "results" and len(finished) == len(levels):
        for name in REWIND_POINTS:
            (run / name).unlink(missing_ok=True)
    Ticket.remove_unneeded(run)


def shrink_checkpoint(path: Path, own: bool = True) -> None:
    """Write the checkpoint of a finished level again without the optimizer's state, unless that was done.

    own: True for a checkpoint of a module of lth. False keeps tensors as they are, so that `load_from_checkpoint`
        reads them, and leaves a file that holds other objects than tensors and numbers unchanged

    A damaged file is left as it is. Reading it later raises the error.
    """
    if is_shrunk(path):
        return
    try:
        content = load_checkpoint(path) if own else torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception:
        return
    states = [_without_state(each) for each in content.get("optimizer_states", ())]
    small = {**content, "optimizer_states": states, MARK: True}
    if own:
        write_checkpoint(path, small, pack=True)
    else:
        write_torch(path, small)


def _without_state(optimizer: Any) -> Any:
    """An optimizer's state dict without per-parameter state, which is enough for a level that is trained to its end."""
    return {**optimizer, "state": {}} if isinstance(optimizer, Mapping) and "state" in optimizer else optimizer


def _remove_weights(folder: Path) -> None:
    """Remove the checkpoints of a level and the weights of its ticket. Masks and header stay."""
    path = folder / "ticket.safetensors"
    for name in ("last.ckpt", "start.ckpt", "end.ckpt"):  # the last two exist for levels that a script trained
        (folder / name).unlink(missing_ok=True)
    try:
        ticket = Ticket.load(path, weights=False)
    except (ValueError, FileNotFoundError):
        return
    if ticket.header.get("stored_weights") != "none":
        Ticket(ticket.masks, {}, {**ticket.header, "removed": _REMOVED}).save(path)
