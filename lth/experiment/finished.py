"""Shows the table of a finished run without the imports that training needs."""

import os
from typing import Any

from omegaconf import DictConfig

from lth.experiment._shrunk_mark import is_shrunk
from lth.experiment._stored_configuration import default_keys, resolved
from lth.report.output import console
from lth.report.results import pictures_of, print_levels, rows_of, title_of, write_tables
from lth.storage.curves_file import CurvesFile
from lth.storage.folder import RunFolder

_CSV = "lth.loggers.CurvesCSV"  # the one logger whose file can be completed without Lightning
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # where Lightning looks for a rank


def is_first_rank() -> bool:
    """Whether this process is rank 0, according to its environment variables."""
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


def show_finished(cfg: DictConfig) -> float | None:
    """Print the table of the run that `cfg` describes, if all its levels are finished in its folder.

    The tables are written again, in case a crash came between a level and its row. Returns the last level's accuracy,
    0..1, or None if there is more to do: levels, checkpoints to make small, pictures, loggers, `overwrite`, or a rank
    other than 0.
    """
    folder = RunFolder(cfg.folder)
    loggers = (cfg.logger or {}).values()
    if any(logger["_target_"] != _CSV for logger in loggers):
        return None
    if cfg.overwrite or not is_first_rank():
        return None
    if not (folder.path / "config.yaml").is_file():
        return None
    config, planned = resolved(cfg), folder.stored().get("levels")
    if planned is None or not folder.holds(config, planned, default_keys(cfg)):
        return None
    if _untidy(folder, cfg.keep):
        return None
    outcomes: list[Any] = [folder.finished(level) for level in folder.levels]
    if not all(map(folder.has_picture, pictures_of(outcomes))):
        return None
    write_tables(folder.path, outcomes)
    for logger in loggers:
        steps = sum(outcome["row"]["steps"] for outcome in outcomes)
        CurvesFile(logger["path"]).restore(planned, rows_of("curves", outcomes), steps)
    print(f"{planned} of {planned} levels are finished already; overwrite=true starts over")
    return print_levels(console(), folder.path, [outcome["row"] for outcome in outcomes], title_of(config))


def _untidy(folder: RunFolder, keep: str) -> bool:
    """Whether a level of a finished run holds more than `keep` says."""
    last = [level / "last.ckpt" for level in folder.levels]
    return not all(map(is_shrunk, last)) or (keep == "results" and any(path.exists() for path in last[:-1]))
