"""What finished levels keep: small checkpoints with the same weights, or results alone; killed anywhere, the same."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from lth.cli._connectivity import main as connectivity
from lth.experiment import _finished_levels, finished, loop
from lth.experiment._shrunk_mark import is_shrunk
from lth.experiment.build import Experiment
from lth.experiment.load import load_level
from lth.pruning.masks import fingerprint
from lth.report.collect import collect
from lth.report.sanity_checks import verdicts
from lth.storage.checkpoint import load_checkpoint
from lth.storage.folder import RunFolder
from lth.tickets import Ticket
from tests.support.harness import configuration, train, train_apart, usual
from tests.support.left import curves, rows, state
from tests.support.scripts import Foreign, ladder
from tests.tickets.test_shared_weights import format_1

pytestmark = pytest.mark.slow

LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3,0.2]"
RUNS = {
    "imp": ["method=imp", *LADDER],
    "wr": ["method=wr", "method.rewind=2it", *LADDER],
    "lrr": ["method=lrr", *LADDER, "recipe.ema=0.9"],
    "gem_miner": ["method=gem_miner", "method.period=1", "sparsity.density=0.3"],
    "rigl": ["method=rigl", "method.every=2", "sparsity.density=0.3"],
    "filters": ["method=filters"],
    "surgery": ["method=surgery"],
}


def of(name: str, tmp_path: Path) -> list[str]:
    return [*usual(name, tmp_path), *RUNS[name][1:]]


def tickets(folder: Path) -> list[Path]:
    return sorted(folder.glob("level_*/ticket.safetensors"))


def checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("level_*/last.ckpt"))


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def left(folder: Path) -> dict[str, Any]:
    """What a run with keep=results leaves: tables, masks, and the last level's weights."""
    last = checkpoints(folder)[-1]
    masks = [fingerprint(Ticket.load(path).masks) for path in tickets(folder)]
    ticket, end = Ticket.load(tickets(folder)[-1]), load_checkpoint(last)
    weights = fingerprint({**ticket.weights, **end["state_dict"]})
    return {"results": rows(folder), "curves": curves(folder), "masks": masks, "weights": weights}


@pytest.mark.parametrize("name", RUNS)
def test_weights_masks_and_tickets_have_the_bits_of_whole_files(name: str, tmp_path: Path, monkeypatch):
    overrides = of(name, tmp_path)
    train(tmp_path / "small", *overrides)
    monkeypatch.setattr(loop, "shrink_finished", lambda *_: None)
    monkeypatch.setattr(Ticket, "save", lambda self, path, run=None: format_1(self, Path(path)))
    train(tmp_path / "whole", *overrides)
    small, whole = state(tmp_path / "small"), state(tmp_path / "whole")
    for level in [name for name in small if name.startswith("level_")]:
        del small[level]["optimizer"], whole[level]["optimizer"]
    assert small == whole
    assert all(is_shrunk(path) for path in checkpoints(tmp_path / "small"))
    for path in checkpoints(tmp_path / "small"):
        ours, theirs = load_checkpoint(path), load_checkpoint(tmp_path / "whole" / path.parent.name / path.name)
        assert not any(each["state"] for each in ours["optimizer_states"])
        assert any(each["state"] for each in theirs["optimizer_states"])
        assert fingerprint(ours.get("found", {})) == fingerprint(theirs.get("found", {}))
        assert fingerprint(ours.get("flags", {})) == fingerprint(theirs.get("flags", {}))
    ends = [load_level(folder) for folder in (tmp_path / "small", tmp_path / "whole")]
    assert fingerprint(ends[0].net.state_dict()) == fingerprint(ends[1].net.state_dict())


@pytest.mark.parametrize("keep", ["all", "results"])
@pytest.mark.parametrize("name", ["imp", "lrr", "gem_miner"])
def test_killed_between_the_mark_and_the_small_checkpoint(name: str, keep: str, tmp_path: Path):
    overrides, killed = [*of(name, tmp_path), f"keep={keep}"], tmp_path / "killed"
    train(tmp_path / "whole", *overrides)
    levels = len(tickets(tmp_path / "whole"))
    for level in range(levels):
        assert train_apart(killed, overrides, ("after finish", level)) == -9
        assert not is_shrunk(checkpoints(killed)[-1])
        assert len(list(killed.glob("level_*/finished"))) == level + 1
    train(killed, *overrides)
    assert left(killed) == left(tmp_path / "whole")
    assert all(map(is_shrunk, checkpoints(killed)))
    assert keep == "results" or state(killed) == state(tmp_path / "whole")
    # what the killed processes wrote besides is gone
    names = [sorted(path.name for path in folder.iterdir()) for folder in (killed, tmp_path / "whole")]
    assert names[0] == names[1]


@pytest.mark.parametrize("step", ["unlink", "ticket", "small"])
def test_killed_within_the_tidying(step: str, tmp_path: Path, monkeypatch):
    overrides = [*RUNS["wr"], "keep=results"]
    train(tmp_path / "whole", *overrides)

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if step == "unlink":
            patch.setattr(_finished_levels, "_remove_weights", die)
        elif step == "ticket":
            patch.setattr(
                Ticket,
                "save",
                lambda self, path, run=None, save=Ticket.save: die() if run is None else save(self, path, run),
            )
        else:
            patch.setattr(_finished_levels, "write_checkpoint", die)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(tmp_path / "killed", *overrides)
    train(tmp_path / "killed", *overrides)
    assert left(tmp_path / "killed") == left(tmp_path / "whole")


@pytest.mark.parametrize("name", ["imp", "lrr", "wr", "sanity"])
def test_results_alone_are_the_same_results_in_fewer_bytes(name: str, tmp_path: Path):
    overrides = ["method=sanity", "sparsity=list", "sparsity.densities=[0.5,0.3]"] if name == "sanity" else RUNS[name]
    overrides = [*overrides, "model=mlp", "model.widths=[96,64]"]
    train(tmp_path / "all", *overrides)
    train(tmp_path / "results", *overrides, "keep=results")
    assert left(tmp_path / "results") == left(tmp_path / "all")
    for table in ("results.csv", "layers.csv"):
        assert (tmp_path / "results" / table).is_file()
    assert [path.parent for path in checkpoints(tmp_path / "results")] == [tickets(tmp_path / "results")[-1].parent]
    assert {path.name for path in (tmp_path / "results").glob("*.ckpt")} == set()
    for path in tickets(tmp_path / "results")[:-1]:
        assert not Ticket.load(path).weights
    assert size(tmp_path / "results") < 0.75 * size(tmp_path / "all")
    if name == "sanity":
        runs = collect([tmp_path / "results"])
        assert all(not judged.correlation for judged in verdicts(runs).values())


def test_a_level_that_is_gone_is_named_in_one_line(tmp_path: Path, capsys):
    folder = tmp_path / "run"
    train(folder, *RUNS["wr"], "keep=results")
    levels = [path.parent for path in tickets(folder)]
    with pytest.raises(FileNotFoundError, match=f"^{levels[1]}/last.ckpt is not there: .*keep=results[^\n]*$"):
        load_level(levels[1])
    with pytest.raises(SystemExit, match=r"^error: [^\n]*keep=results[^\n]*$"):
        connectivity([str(folder)])
    with pytest.raises(ValueError, match=f"^the ticket {levels[1]}.* has no weights to start from: .*keep=results"):
        train(tmp_path / "retrain", "method=retrain", f"ticket={levels[1] / 'ticket.safetensors'}")
    assert not (tmp_path / "retrain").exists()
    train(tmp_path / "retrain", "method=retrain", f"ticket={levels[-1] / 'ticket.safetensors'}")


def test_a_run_goes_on_with_another_value(tmp_path: Path):
    train(tmp_path / "whole", *RUNS["imp"])
    assert train_apart(tmp_path / "run", RUNS["imp"], ("after finish", 1)) == -9
    train(tmp_path / "run", *RUNS["imp"], "keep=results")
    assert len(checkpoints(tmp_path / "run")) == 1
    assert left(tmp_path / "run") == left(tmp_path / "whole")
    train(tmp_path / "run", *RUNS["imp"])  # nothing more to do
    assert left(tmp_path / "run") == left(tmp_path / "whole")


@pytest.mark.parametrize("keep", ["all", "results"])
def test_a_finished_run_of_an_earlier_version_becomes_small(keep: str, tmp_path: Path, monkeypatch):
    given = configuration(tmp_path / "run", *RUNS["imp"], f"keep={keep}")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "shrink_finished", lambda *_: None)
        train(tmp_path / "run", *RUNS["imp"], draw=True)
    before = left(tmp_path / "run")
    assert finished.show_finished(given) is None
    train(tmp_path / "run", *RUNS["imp"], f"keep={keep}")
    assert finished.show_finished(given) is not None
    assert left(tmp_path / "run") == before
    assert len(checkpoints(tmp_path / "run")) == (4 if keep == "all" else 1)


def test_a_level_whose_mark_is_gone_is_finished_again_from_the_small_checkpoint(tmp_path: Path):
    train(tmp_path, *RUNS["wr"])
    before = state(tmp_path)
    for level in RunFolder(tmp_path).levels[::2]:
        (level / "finished").unlink()
    train(tmp_path, *RUNS["wr"])
    after = state(tmp_path)
    for found in (before, after):
        for name in [name for name in found if name.startswith("level_")]:
            del found[name]["optimizer"]
    assert after == before


def test_a_damaged_checkpoint_of_a_finished_level_stays_for_who_reads_it(tmp_path: Path):
    train(tmp_path, *RUNS["imp"])
    path = checkpoints(tmp_path)[0]
    for content in (b"", b"no checkpoint", path.read_bytes()[:2000]):
        path.write_bytes(content)
        train(tmp_path, *RUNS["imp"])
        assert path.read_bytes() == content


def test_damaged_or_lost_shared_weights_are_refused_and_written_again(tmp_path: Path):
    train(tmp_path / "whole", *RUNS["imp"])
    folder = tmp_path / "run"
    assert train_apart(folder, RUNS["imp"], ("before finish", 2)) == -9
    (shared,) = folder.glob("starting_weights_*")
    content = shared.read_bytes()
    shared.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=f"^{shared} is damaged[^\n]*$"):
        train(folder, *RUNS["imp"])
    shared.unlink()
    with pytest.raises(ValueError, match=f"{shared.name} of its run is lost; delete .*level_02_density_0.3 to repeat"):
        train(folder, *RUNS["imp"])
    shutil.rmtree(folder / "level_02_density_0.3")
    train(folder, *RUNS["imp"])
    assert state(folder) == state(tmp_path / "whole")
    assert shared.read_bytes() == content


def test_overwriting_removes_the_shared_weights(tmp_path: Path):
    train(tmp_path, *RUNS["imp"])
    assert len(list(tmp_path.glob("starting_weights_*"))) == 1
    train(tmp_path, "method=dense", "overwrite=true")
    assert not list(tmp_path.glob("starting_weights_*"))


def test_weights_are_removed_once_no_unfinished_level_starts_from_them(tmp_path: Path):
    overrides = ["method=sanity", "sparsity=list", "sparsity.densities=[0.5,0.3]", "keep=results"]
    levels = Experiment(configuration(tmp_path, *overrides), RunFolder(tmp_path)).levels
    removed: list[Any] = []
    for count in range(1, len(levels) + 1):
        done = range(count)
        needed = {level.source for level in levels[count:]}
        gone = {i for i in done if i not in needed and i != len(levels) - 1}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_finished_levels, "_remove_weights", removed.append)
            _finished_levels.shrink_finished(levels, "results", count - 1)
        # changing only the trained level and its source removes the same as changing all finished levels
        assert {levels[i].folder for i in gone} == set(removed)


def test_a_scripts_finished_level_keeps_a_checkpoint_that_loads(tmp_path: Path, monkeypatch):
    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        patch.setattr("lth.experiment.levels.shrink_on_this_rank", lambda *_, **__: None)
        ladder(tmp_path / "run", densities=[1.0, 0.3])
    paths = checkpoints(tmp_path / "run")
    large = [path.stat().st_size for path in paths]
    ends = [load_checkpoint(path.with_name("end.ckpt"))["weights"] for path in paths]
    ladder(tmp_path / "run", densities=[1.0, 0.3])  # finished: made small
    for path, before, end in zip(paths, large, ends, strict=True):
        assert path.stat().st_size < 0.8 * before
        assert fingerprint(Foreign.load_from_checkpoint(path).state_dict()) == fingerprint(end)


@pytest.mark.parametrize("dies_at", [None, 14])
def test_a_script_with_results_alone_has_the_same_results_and_its_last_weights(dies_at: int | None, tmp_path: Path):
    torch.manual_seed(0)
    ladder(tmp_path / "all")
    if dies_at:
        torch.manual_seed(0)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            ladder(tmp_path / "run", settings={"keep": "results"}, mine=[lambda: _Interrupts(dies_at)])
    torch.manual_seed(0)
    ladder(tmp_path / "run", settings={"keep": "results"})
    assert rows(tmp_path / "run") == rows(tmp_path / "all")
    *others, last = sorted((tmp_path / "run").glob("level_*"))
    assert [sorted(p.name for p in level.iterdir()) for level in others] == [["finished", "ticket.safetensors"]] * 2
    ends = [load_checkpoint(run / last.name / "end.ckpt") for run in (tmp_path / "run", tmp_path / "all")]
    assert fingerprint(ends[0]["weights"]) == fingerprint(ends[1]["weights"])
    assert not (tmp_path / "run" / "rewind.ckpt").exists()
    assert (tmp_path / "all" / "rewind.ckpt").exists()


def test_another_value_of_keep_is_refused_before_a_folder_exists(tmp_path: Path):
    with pytest.raises(ValueError, match=r"^keep='result' is not one of \('all', 'results'\)$"):
        ladder(tmp_path / "run", settings={"keep": "result"})
    assert not (tmp_path / "run").exists()


class _Interrupts(pl.Callback):
    """Raises KeyboardInterrupt in optimizer step `step` of the second level."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        level = next(each.level for each in trainer.callbacks if hasattr(each, "level"))
        if level.index == 1 and trainer.global_step == self.step - 6:
            raise KeyboardInterrupt
