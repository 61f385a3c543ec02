"""`lth.levels` around a script's own module and Trainer: the same results as `run.py`, exact resumption, tickets."""

import csv
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import yaml
from hydra.utils import instantiate

import lth
from lth.callbacks import Gradual, KeepPruned, Regrow
from lth.experiment.build import Experiment
from lth.experiment.levels import levels
from lth.pruning.masks import fingerprint
from lth.report.write import write_report
from lth.storage.checkpoint import load_checkpoint
from lth.storage.folder import RunFolder
from tests.support import harness
from tests.support.scripts import Foreign, ladder, points, trainer

slow = pytest.mark.slow


def left(folder: Path) -> dict[str, object]:
    """What a script's run left, without times."""
    state: dict[str, object] = {}
    for level in sorted(folder.glob("level_*")):
        ticket = lth.Ticket.load(level / "ticket.safetensors")
        end = load_checkpoint(level / "end.ckpt")
        state[level.name] = (
            fingerprint(end["weights"]),
            fingerprint(end["masks"]),
            fingerprint({**ticket.weights, **ticket.masks}),
        )
    with (folder / "results.csv").open(newline="") as file:
        state["rows"] = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
    return state


@slow
def test_its_iterative_pruning_is_that_of_run_py_to_the_last_bit(tmp_path):
    densities = [1.0, 0.5, 0.2]
    recipe = ["recipe/schedule=constant", "recipe.lr=0.1"]
    pruned = ["method=imp", "sparsity=list", f"sparsity.densities={densities[1:]}", "method.rewind=2it"]
    harness.train(tmp_path / "run", *pruned, *recipe)
    cfg = harness.configuration(tmp_path / "unused", *pruned, *recipe)
    experiment = Experiment(cfg, RunFolder(tmp_path / "unused"))

    class Script(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = experiment.draw(cfg.seeds.init)

        def training_step(self, batch, index):
            return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return instantiate(cfg.recipe).build(self.net, set(masks))

    module, data = Script(), experiment.data
    masks = lth.Masks.ones(module.net)
    for level in lth.levels(densities, tmp_path / "script"):
        data.level = level.index
        callbacks = [KeepPruned(masks), *level.callbacks(rewind="2it")]
        trainer(callbacks, max_epochs=3).fit(module, datamodule=data)
    for ours, theirs in zip(sorted((tmp_path / "script").glob("level_*")), experiment.levels, strict=True):
        run = tmp_path / "run" / theirs.folder.name
        last = load_checkpoint(run / "last.ckpt")
        end = load_checkpoint(ours / "end.ckpt")
        assert fingerprint(end["masks"]) == fingerprint({f"net.{n}": m for n, m in last["masks"].items()})
        trained = {n: w for n, w in last["state_dict"].items() if n.startswith("net.")}
        assert fingerprint(end["weights"]) == fingerprint(trained)
        tickets = [lth.Ticket.load(folder / "ticket.safetensors") for folder in (ours, run)]
        assert fingerprint(tickets[0].weights) == fingerprint({f"net.{n}": w for n, w in tickets[1].weights.items()})


@slow
@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}], ids=["plain", "accumulating"])
def test_killed_five_times_and_resumed_it_equals_an_undisturbed_run(options, tmp_path):
    run = partial(_seeded_ladder, options=options)
    context = harness.forks()
    for dies_at in (6, 5, 6, 7, 5):
        process = context.Process(target=run, args=(tmp_path / "killed",), kwargs={"dies_at": dies_at})
        process.start()
        process.join()
        assert process.exitcode == 9
    for folder in ("killed", "whole"):
        process = context.Process(target=run, args=(tmp_path / folder,))
        process.start()
        process.join()
        assert process.exitcode == 0
    assert left(tmp_path / "killed") == left(tmp_path / "whole")


def _seeded_ladder(folder: Path, **options) -> None:
    torch.manual_seed(1)
    ladder(folder, partial(Foreign, schedule=True), **options)


@slow
def test_a_finished_run_trains_nothing_and_other_settings_are_refused(tmp_path):
    torch.manual_seed(1)
    ladder(tmp_path, settings={"settings": {"lr": 0.1}})
    before = left(tmp_path)
    assert list(levels([1.0, 0.5, 0.2], tmp_path, settings={"lr": 0.1})) == []
    assert left(tmp_path) == before
    with pytest.raises(ValueError, match=r"settings\.lr: 0\.1 -> 0\.2"):
        next(levels([1.0, 0.5, 0.2], tmp_path, settings={"lr": 0.2}))


@slow
def test_metrics_of_a_script_do_not_replace_what_lth_records(tmp_path):
    class Logs(Foreign):
        def training_step(self, batch, index):
            self.log("density", 0.5)
            self.log("steps", 3.0)
            self.log("mine", 7.0)
            return super().training_step(batch, index)

    torch.manual_seed(1)
    ladder(tmp_path / "run", Logs)
    rows = left(tmp_path / "run")["rows"]
    assert [float(row["density"]) for row in rows] == pytest.approx([1, 0.5, 0.2], abs=1e-3)
    assert {row["mine"] for row in rows} == {"7.0"}
    assert {row["steps"] for row in rows} != {"3.0"}


@slow
def test_rows_tickets_and_a_report_come_of_it(tmp_path):
    torch.manual_seed(1)
    ladder(tmp_path / "run", settings={"model": "foreign", "dataset": "points"})
    rows = left(tmp_path / "run")["rows"]
    assert [float(row["density"]) for row in rows] == pytest.approx([1, 0.5, 0.2], abs=1e-3)
    assert all(0 <= float(row["val_accuracy"]) <= 1 for row in rows)
    ticket = lth.Ticket.load(tmp_path / "run" / "level_02_density_0.2" / "ticket.safetensors")
    assert ticket.density == pytest.approx(0.2, abs=1e-3)
    assert set(ticket.masks) == {"body.0.weight", "body.4.weight"}
    text = write_report([tmp_path / "run"], tmp_path / "report", "val_accuracy")
    assert "foreign on points" in text


@slow
def test_frozen_parameters_keep_their_values_over_a_ladder(tmp_path):
    torch.manual_seed(1)
    before = Foreign().frozen.weight.clone()
    torch.manual_seed(1)
    model = ladder(tmp_path)
    assert torch.equal(model.frozen.weight, before)
    assert not model.frozen.weight.requires_grad


@slow
@pytest.mark.parametrize("criterion", ["snip", "synflow"])
def test_a_criterion_takes_the_loss_and_the_data_of_the_script(criterion, tmp_path):
    options = {"snip": {"n_batches": 2, "samples_per_class": None}, "synflow": {}}[criterion]

    class Seen(Foreign):
        example_input_array = torch.zeros(1, 8)

    torch.manual_seed(1)
    ladder(tmp_path, Seen, [0.3], criterion=partial(getattr(lth.criteria, criterion), **options), rewind=None)
    ticket = lth.Ticket.load(tmp_path / "level_00_density_0.3" / "ticket.safetensors")
    assert ticket.density == pytest.approx(0.3, abs=1e-3)


@slow
def test_snip_of_a_script_scores_with_its_own_training_step(tmp_path):
    torch.manual_seed(1)
    model = Foreign()
    model.body[3].p = 0.0
    masks = lth.Masks.ones(model.body)
    snip = partial(lth.criteria.snip, n_batches=1, samples_per_class=None, bn="eval")
    loader = [next(iter(points()))]
    ladder_of_one = lth.levels([0.3], tmp_path)
    level = next(ladder_of_one)
    keep = KeepPruned(masks, loader=loader)
    fit = trainer([keep, *level.callbacks(snip, rewind=None)], max_epochs=1)
    expected = Foreign()
    expected.load_state_dict(model.state_dict())
    expected.body[3].p = 0.0
    expected.log = lambda *_: None
    expected.eval()
    weights = [expected.body[0].weight, expected.body[4].weight]
    scores = [
        (g * w).abs()
        for g, w in zip(torch.autograd.grad(expected.training_step(loader[0], 0), weights), weights, strict=True)
    ]
    threshold = torch.cat([score.flatten() for score in scores]).sort().values[-round(0.3 * masks.total)]
    fit.fit(model, points())
    for score, mask in zip(scores, masks.values(), strict=True):
        assert torch.equal(score >= threshold, mask.bool())


@slow
def test_a_criterion_that_needs_a_loss_asks_for_one_where_the_training_step_returns_none(tmp_path):
    from tests.support.scripts import TwoOptimizers

    snip = partial(lth.criteria.snip, n_batches=1, samples_per_class=None)
    with pytest.raises(ValueError, match="manual optimization returns none"):
        ladder(tmp_path / "a", TwoOptimizers, [0.3], criterion=snip, rewind=None)
    with pytest.raises(ValueError, match="n_batches=1, samples_per_class=None"):
        ladder(tmp_path / "b", Foreign, [0.3], criterion=lth.criteria.snip, rewind=None)


@slow
def test_rigl_moves_masks_of_a_script_and_keeps_their_number(tmp_path):
    rigl = partial(Regrow, times=lth.Times(2, end="100%"))
    torch.manual_seed(1)
    ladder(tmp_path, densities=[0.3], criterion=lth.criteria.random, rewind=None, within=[rigl])
    level = tmp_path / "level_00_density_0.3"
    end = load_checkpoint(level / "end.ckpt")["masks"]
    start = lth.Ticket.load(level / "ticket.safetensors")
    assert sum(int(mask.sum()) for mask in end.values()) == start.kept
    first = torch.load(level / "last.ckpt", weights_only=True)["callbacks"]
    ever = next(state["ever"] for state in first.values() if "ever" in state)
    assert sum(int(mask.sum()) for mask in ever.values()) > start.kept


@slow
def test_gradual_pruning_of_a_script_ends_at_the_density(tmp_path):
    gmp = partial(Gradual, times=lth.Times(2))
    torch.manual_seed(1)
    ladder(tmp_path, densities=[0.25], criterion=None, rewind=None, within=[gmp])
    assert float(left(tmp_path)["rows"][0]["density"]) == pytest.approx(0.25, abs=1e-3)


@slow
def test_a_level_with_an_empty_layer_warns_before_training(tmp_path, caplog):
    def lopsided(net, masks, batches):
        return {name: torch.full_like(mask, float(index)) for index, (name, mask) in enumerate(masks.items())}

    ladder(tmp_path, densities=(1.0, 0.3), criterion=lopsided)
    assert [record.message for record in caplog.records if "empty layers" in record.message] == [
        "level 1 (density_0.3): empty layers: ['body.0.weight']"
    ]


@slow
def test_a_script_records_its_command_and_says_that_it_resumes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["mine.py", "a b"])
    process = harness.forks().Process(target=_seeded_ladder, args=(tmp_path,), kwargs={"dies_at": 6})
    process.start()
    process.join()
    _seeded_ladder(tmp_path)
    assert "resuming level 0 from its last checkpoint" in capsys.readouterr().out
    stored = yaml.safe_load((tmp_path / "config.yaml").read_text())
    command = stored["record"]["command"]
    assert (command[0], command[-1]) == ("python", "a b")


def test_a_script_says_how_many_levels_are_finished_already(tmp_path, capsys):
    next(levels([1.0, 0.5], tmp_path))
    assert capsys.readouterr().out == ""
    (tmp_path / "level_00_dense").mkdir()
    RunFolder(tmp_path).finish(tmp_path / "level_00_dense", {"row": {"level": 0}})
    assert next(levels([1.0, 0.5], tmp_path)).index == 1
    assert capsys.readouterr().out == f"1 of 2 levels of {tmp_path} are finished already\n"
