"""Runs of `method=sanity`: the table of settings, and a verdict for every density and way of pruning."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from lth.report.collect import Run as Folder
from lth.sanity import Rules
from lth.sanity.judge import SanityRun, Verdict, describe, judge, tau_of

_PARTS = {"imp": ("lt_imp", "rr_imp"), "omp": ("lt_omp", "rr_omp")}
_OTHERS = ("shuffle", "random", "lr_rewind", "wr_imp", "wr_omp")
_TOP = 0.1  # fraction of largest weights in R_p


def runs_of(folders: Iterable[Folder]) -> list[SanityRun]:
    """One entry for each trained level of every sanity run. Incomplete runs too: a verdict lists what is missing."""
    found = []
    for folder in folders:
        if not folder.is_sanity_check:
            continue
        lr, seed = folder.config["recipe"]["lr"], folder.seed
        for row in folder.rows:
            found.append(
                SanityRun(row["stage"], lr, seed, row["test_accuracy"], round(row["target_density"], 6), row["epochs"])
            )
    return found


def verdicts(folders: Sequence[Folder], rules: Rules | None = None) -> dict[str, Verdict]:
    """The verdicts by name, "imp at density 0.1" or "omp at density 0.1".

    folders: runs of one model and dataset; runs of other methods are ignored
    rules: thresholds of the conditions; None = those of the dataset

    Raises ValueError where no run is a sanity check.
    """
    table = runs_of(folders)
    if not table:
        raise ValueError("no run of method=sanity among these folders")
    dataset = next(folder.config["choices"]["dataset"] for folder in folders if folder.is_sanity_check)
    rules = rules or Rules(tau=tau_of(dataset))
    checked = sorted({run.density for run in table if run.setting not in ("dense", "lt_imp", "wr_imp")}, reverse=True)
    found = {}
    for density in checked:
        for way, (ticket, reinit) in _PARTS.items():
            if any(run.setting == ticket and run.density == density for run in table):
                controls = [name for name in _OTHERS if any(run.setting == name for run in table)]
                judged = judge(table, density, rules, ticket=ticket, reinit=reinit, controls=controls)
                found[f"{way} at density {density:.4g}"] = replace(
                    judged, correlation=_indicators(folders, density, way)
                )
    return found


def _indicators(folders: Iterable[Folder], density: float, way: str) -> dict[str, float]:
    """R_p between starting and trained weights of ticket and control: name with learning rate -> mean over seeds."""
    values: dict[str, list[float]] = {}
    for folder in folders:
        for role, setting in zip(("LT", "RR"), _PARTS[way], strict=True):
            level = _level(folder, setting, density)
            if level is not None:
                name = f"R_{_TOP:g}({role} start, {role} trained) at lr {folder.config['recipe']['lr']:g}"
                values.setdefault(name, []).append(_start_to_end(level))
    return {name: fmean(of_seeds) for name, of_seeds in sorted(values.items())}


def settings_table(runs: Sequence[SanityRun]) -> list[dict[str, Any]]:
    """One row per setting, density and learning rate: mean and sample standard deviation (fractions) over n seeds."""
    cells: dict[tuple[str, float, float], list[float]] = {}
    for run in runs:
        cells.setdefault((run.setting, run.density, run.lr), []).append(run.accuracy)
    return [
        {
            "setting": setting,
            "density": density,
            "lr": lr,
            "mean": round(fmean(of_seeds), 6),
            "sd": round(stdev(of_seeds), 6) if len(of_seeds) > 1 else None,
            "n": len(of_seeds),
        }
        for (setting, density, lr), of_seeds in sorted(cells.items(), key=lambda item: (-item[0][1], item[0]))
    ]


def in_words(found: Mapping[str, Verdict]) -> str:
    """The verdicts as text, one after another."""
    return "\n".join(line for name, judged in found.items() for line in [f"{name}:", *describe(judged), ""])


def _level(folder: Folder, setting: str, density: float) -> Path | None:
    for row in folder.rows:
        if row["stage"] == setting and abs(row["target_density"] - density) < 1e-5:
            level = next(folder.path.glob(f"level_{row['level']:02d}_*"), None)
            return level if level is not None and (level / "last.ckpt").is_file() else None  # not with keep=results
    return None


def _start_to_end(level: Path) -> float:
    # Imported here: a report of runs that kept no weights needs no torch, whose import takes two to three seconds.
    from lth.analysis.similarity import correlation
    from lth.pruning.masks import Masks
    from lth.storage.checkpoint import load_checkpoint
    from lth.tickets import Ticket

    ticket, trained = Ticket.load(level / "ticket.safetensors"), load_checkpoint(level / "last.ckpt")["state_dict"]
    masks = Masks(ticket.masks)
    end = {name: trained[f"net.{name}"] for name in masks}
    return correlation({n: ticket.weights[n] for n in masks}, end, _TOP, masks, masks, normalise="exact")
