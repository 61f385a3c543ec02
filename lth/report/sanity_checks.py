"""What the runs of `method=sanity` say: the table of settings, and a verdict for every density and way of pruning."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from lth.analysis.similarity import correlation
from lth.pruning.masks import Masks
from lth.report.collect import Run as Folder
from lth.sanity.conditions import Rules
from lth.sanity.judge import SanityRun, Verdict, describe, judge, tau_of

PARTS = {"imp": ("lt_imp", "rr_imp"), "omp": ("lt_omp", "rr_omp")}
OTHERS = ("shuffle", "random", "lr_rewind", "wr_imp", "wr_omp")
TOP = 0.1  # share of the weights that R_p looks at


def runs_of(folders: Iterable[Folder]) -> list[SanityRun]:
    """One entry a trained level of every sanity run, incomplete ones included: a verdict says what it lacks."""
    found = []
    for folder in folders:
        if not _is_sanity(folder):
            continue
        lr, seed = folder.config["recipe"]["lr"], folder.seed
        for row in folder.rows:
            found.append(
                SanityRun(row["stage"], lr, seed, row["test_accuracy"], round(row["target_density"], 6), row["epochs"])
            )
    return found


def verdicts(folders: Sequence[Folder], rules: Rules | None = None) -> dict[str, Verdict]:
    """By "<way of pruning> at density <d>". Raises ValueError where no folder holds a sanity run."""
    table = runs_of(folders)
    if not table:
        raise ValueError("no run of method=sanity among these folders")
    dataset = next(folder.config["choices"]["dataset"] for folder in folders if _is_sanity(folder))
    rules = rules or Rules(tau=tau_of(dataset))
    checked = sorted({run.density for run in table if run.setting not in ("dense", "lt_imp", "wr_imp")}, reverse=True)
    found = {}
    for density in checked:
        for way, (ticket, reinit) in PARTS.items():
            if any(run.setting == ticket and run.density == density for run in table):
                controls = [name for name in OTHERS if any(run.setting == name for run in table)]
                judged = judge(table, density, rules, ticket=ticket, reinit=reinit, controls=controls)
                found[f"{way} at density {density:.4g}"] = replace(
                    judged, correlation=indicators(folders, density, way)
                )
    return found


def indicators(folders: Iterable[Folder], density: float, way: str) -> dict[str, float]:
    """R_p of trained weights with those they started from, ticket and control: means over seeds by learning rate."""
    values: dict[str, list[float]] = {}
    for folder in folders:
        for role, setting in zip(("LT", "RR"), PARTS[way], strict=True):
            level = _level(folder, setting, density)
            if level is not None:
                name = f"R_{TOP:g}({role} start, {role} trained) at lr {folder.config['recipe']['lr']:g}"
                values.setdefault(name, []).append(_start_to_end(level))
    return {name: fmean(of_seeds) for name, of_seeds in sorted(values.items())}


def settings_table(runs: Sequence[SanityRun]) -> list[dict[str, Any]]:
    """Mean and sample deviation (fractions) of every setting, density and learning rate."""
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
    """The verdicts, one after another."""
    return "\n".join(line for name, judged in found.items() for line in [f"{name}:", *describe(judged), ""])


def _is_sanity(folder: Folder) -> bool:
    method = folder.config.get("method") or {}
    plan = method.get("plan") if isinstance(method, Mapping) else None
    return isinstance(plan, Mapping) and plan.get("_target_") == "lth.plan.sanity_plan.sanity"


def _level(folder: Folder, setting: str, density: float) -> Path | None:
    for row in folder.rows:
        if row["stage"] == setting and abs(row["target_density"] - density) < 1e-5:
            return next(folder.path.glob(f"level_{row['level']:02d}_*"), None)
    return None


def _start_to_end(level: Path) -> float:
    from lth.storage.checkpoint import load_checkpoint
    from lth.tickets import Ticket

    ticket, trained = Ticket.load(level / "ticket.safetensors"), load_checkpoint(level / "last.ckpt")["state_dict"]
    masks: Mapping[str, torch.Tensor] = Masks(ticket.masks)
    end = {name: trained[f"net.{name}"] for name in masks}
    return correlation({n: ticket.weights[n] for n in masks}, end, TOP, masks, masks, normalise="exact")
