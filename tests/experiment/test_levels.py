"""What each iterative method does at its boundaries, read from the files an experiment leaves."""

from itertools import groupby, pairwise
from pathlib import Path

import pytest
import torch

from lth.datamodules.arrays import Arrays
from lth.pruning import Masks, prune
from lth.pruning.allocation import count_kept, global_
from lth.pruning.criteria import magnitude
from lth.storage.checkpoint import load_checkpoint
from lth.tickets import Ticket
from tests.support.harness import configuration, names, train
from tests.support.left import curves, rows

pytestmark = pytest.mark.slow

LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3,0.2]"
NORMED = "model.batch_norm=true", "dataset.train_size=200", "recipe.lr=0.05"


def levels(folder: Path) -> list[Path]:
    return sorted(folder.glob("level_*"))


def tickets(folder: Path) -> list[Ticket]:
    return [Ticket.load(level / "ticket.safetensors") for level in levels(folder)]


def trained(level: Path) -> dict[str, torch.Tensor]:
    state = load_checkpoint(level / "last.ckpt")["state_dict"]
    return {k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")}


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_test_images_are_read_once_a_level_when_its_training_has_ended(tmp_path, monkeypatch):
    read = []
    for name in ("train_dataloader", "test_dataloader"):
        method = getattr(Arrays, name)
        monkeypatch.setattr(Arrays, name, lambda self, n=name, m=method: read.append(n) or m(self))
    train(tmp_path, "method=imp", *LADDER)
    assert [name for name, _ in groupby(read)] == ["train_dataloader", "test_dataloader"] * 4
    assert read.count("test_dataloader") == 4


@pytest.fixture(scope="module", params=["imp", "wr", "lrr", "fine_tune", "random"])
def iterative(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    train(folder, f"method={request.param}", *LADDER, *NORMED)
    return folder


def test_masks_are_nested_and_counts_exact(iterative):
    found = tickets(iterative)
    for before, after in pairwise(found):
        assert all((after.masks[n] <= before.masks[n]).all() for n in after.masks)
    total = found[0].total
    assert [t.kept for t in found] == [count_kept(d, total) for d in (1, 0.5, 0.3, 0.2)]


def test_trained_weights_are_zero_exactly_where_the_ticket_says(iterative):
    for level, ticket in zip(levels(iterative), tickets(iterative), strict=True):
        weights = trained(level)
        assert all(not weights[name][~mask].any() for name, mask in ticket.masks.items())
        assert sum(int((weights[name] != 0).sum()) for name in ticket.masks) == ticket.kept


def test_results_have_a_row_a_level_and_accuracies_are_fractions(iterative):
    table = rows(iterative)
    assert [float(row["target_density"]) for row in table] == [1, 0.5, 0.3, 0.2]
    assert all(0 <= float(row[f"{part}_accuracy"]) <= 1 for row in table for part in ("train", "val", "test"))
    assert [int(row["step"]) for row in curves(iterative)] == sorted({int(r["step"]) for r in curves(iterative)})


def test_imp_starts_every_level_from_the_initial_weights_and_statistics(tmp_path):
    train(tmp_path, *LADDER, *NORMED)
    first, *others = tickets(tmp_path)
    assert all(equal(dict(first.weights), dict(other.weights)) for other in others)
    assert any("running_mean" in name for name in first.weights)
    assert not equal(dict(first.weights), trained(levels(tmp_path)[0]))


def test_weight_rewinding_goes_back_to_the_state_after_exactly_k_epochs_every_time(tmp_path):
    constant = "recipe/schedule=constant", *NORMED
    train(tmp_path / "wr", "method=wr", "method.rewind=2ep", *LADDER, *constant)
    train(tmp_path / "two", "method=dense", "recipe.epochs=2", *constant)
    after_two_epochs = trained(levels(tmp_path / "two")[0])
    for ticket in tickets(tmp_path / "wr")[1:]:
        assert equal(dict(ticket.weights), after_two_epochs)


def test_kept_statistics_are_those_of_the_trained_network(tmp_path):
    train(tmp_path, "method.bn_stats=keep", *LADDER, *NORMED)
    before, ticket = trained(levels(tmp_path)[0]), tickets(tmp_path)[1]
    initial = tickets(tmp_path)[0].weights
    for name in before:
        source = before if "running" in name or "num_batches" in name else initial
        assert torch.equal(ticket.weights[name], source[name])


@pytest.mark.parametrize("method", ["lrr", "fine_tune", "one_shot"])
def test_methods_that_do_not_rewind_start_from_the_weights_the_level_before_ended_with(method, tmp_path):
    train(tmp_path, f"method={method}", *NORMED)
    ends = [trained(level) for level in levels(tmp_path)]
    for before, ticket in zip(ends, tickets(tmp_path)[1:], strict=False):
        assert equal(dict(ticket.weights), before)


def test_fine_tuning_holds_the_schedules_last_rate(tmp_path):
    train(tmp_path, "method=fine_tune", *LADDER, "recipe/schedule=multistep", "recipe.epochs=4", "recipe.lr=0.1")
    rates = [float(row["lr"]) for row in curves(tmp_path)]
    assert rates[:4] == pytest.approx([0.1, 0.1, 0.01, 0.001])
    assert rates[4:] == pytest.approx([0.001] * 12)


def test_continuing_the_schedule_starts_at_the_rewind_points_rate_and_takes_what_is_left(tmp_path):
    schedule = "recipe/schedule=cosine", "recipe.schedule_every=epoch", "recipe.epochs=4"
    train(tmp_path, "method=wr", "method.rewind=1ep", "method.schedule=continue", *LADDER, *schedule)
    rates = [float(row["lr"]) for row in curves(tmp_path)]
    assert rates[4:7] == rates[1:4]
    assert [float(row["epochs"]) for row in rows(tmp_path)] == [4, 3, 3, 3]


def test_the_first_round_of_imp_is_the_one_shot_mask_of_the_trained_network(tmp_path):
    train(tmp_path / "imp", "sparsity.density=0.8")
    train(tmp_path / "omp", "method=omp", "sparsity.density=0.8")
    imp, omp = tickets(tmp_path / "imp")[1], tickets(tmp_path / "omp")[1]
    assert equal(dict(imp.masks), dict(omp.masks))
    assert equal(dict(imp.weights), dict(omp.weights))
    # the reference: a sort over the concatenated trained weights
    weights = trained(levels(tmp_path / "omp")[0])
    flat = torch.cat([weights[n].abs().flatten() for n in omp.masks])
    kept = torch.zeros(len(flat), dtype=torch.bool)
    kept[flat.argsort(descending=True, stable=True)[: omp.kept]] = True
    assert torch.equal(kept, torch.cat([m.flatten() for m in omp.masks.values()]))


def test_random_masks_follow_the_pruning_seed_alone(tmp_path):
    ladder = "method=random", "sparsity=one_shot", "sparsity.density=0.5", "recipe.epochs=1"
    for name, seeds in {"a": "seed=1", "b": "seeds.init=7", "c": "seeds.prune=9"}.items():
        train(tmp_path / name, *ladder, seeds, *(["seed=1"] if name != "a" else []))
    a, b, c = (dict(tickets(tmp_path / name)[1].masks) for name in "abc")
    assert equal(a, b)
    assert not equal(a, c)


def test_criterion_allocation_and_rewind_can_be_exchanged_on_the_command_line(tmp_path):
    train(tmp_path, "method/allocation=uniform", "method/criterion=random", "method.rewind=1ep", *LADDER)
    dense, *pruned = tickets(tmp_path)
    ends = trained(levels(tmp_path)[0])
    for ticket in pruned:
        for name, mask in ticket.masks.items():
            assert abs(int(mask.sum()) - ticket.density * mask.numel()) <= 1  # uniform
            assert not torch.equal(ticket.weights[name], dense.weights[name])  # rewound to a later point
    for name, mask in pruned[0].masks.items():  # random: the smaller half keeps weights too
        smaller = ends[name].abs() < ends[name].abs().median()
        assert mask[smaller].any()


def test_a_loss_that_is_no_number_stops_the_level_which_is_not_marked_finished(tmp_path):
    explode = "recipe.lr=1e30", "recipe.schedule.milestones=[]", "recipe.schedule.warmup=3", "recipe.clip=null"
    with pytest.raises(FloatingPointError, match=r"level 0 \(dense\) became .*recipe.lr"):
        train(tmp_path, *explode)
    assert not (levels(tmp_path)[0] / "finished").exists()


def test_another_configuration_in_the_folder_is_refused_naming_the_keys(tmp_path):
    train(tmp_path, "method=dense")
    with pytest.raises(ValueError, match=r"recipe\.lr: 0\.1 -> 0\.2"):
        train(tmp_path, "method=dense", "recipe.lr=0.2")
    train(tmp_path, "method=dense", "recipe.lr=0.2", "overwrite=true")
    assert len(rows(tmp_path)) == 1


IMPOSSIBLE = {
    "sparsity.density=0": "density 0 must be a fraction",
    "sparsity.density=4.4": "did you mean 0.044",
    "sparsity.density=-0.1": "density -0.1 must be a fraction",
    "sparsity.levels=3": "takes two of",
    "sparsity.rate=1.5": r"sparsity\.rate=1\.5: must be",
    "sparsity.end=maybe": "'exact', 'overshoot'",
    "method.rewind=9ep": "a level has 12 steps",
    "method.rewind=13it": "a level has 12 steps",
    "method.rewind=soon": "not of the form",
    "method.schedule=later": "'restart', 'continue', 'hold'",
    "method.bn_stats=drop": "'rewind', 'keep'",
    "prunable.exclude=[fc9]": "matches no prunable weight",
    "prunable.include=[nothing*]": "matches no prunable weight",
    "recipe.precision=16-mixed": "needs a GPU",
    "recipe.precision=fp8": "is not one of",
    "recipe.steps=5": "exactly one of recipe.epochs",
    "recipe.epochs=0": "must be at least 1",
    "recipe.label_smoothing=10": "under 1",
    "recipe.decay=some": "'no_norm'",
    "recipe.schedule_every=hour": "'step', 'epoch'",
    "recipe.optimizer.nesterov=true recipe.optimizer.momentum=0": "Nesterov momentum requires",
    "dataset.val_size=1000": "val_size",
    "model.init=magic": "magic",
    "sparsity.density=0.0001": "keeps none of",
    "recipe/schedule=triangular recipe.schedule.peak=2": "peak=2 must be",
    "recipe/schedule=trapezoidal recipe.schedule.cooldown=-1": "factor",
    "trainer.limit_train_batches=0": "whole number of batches",
    "trainer.limit_train_batches=0.1": "leaves at least one of the 4 batches",
    "trainer.limit_train_batches=some": "limit_train_batches=some must be",
}


@pytest.mark.parametrize("override", IMPOSSIBLE)
def test_what_cannot_work_fails_before_training_and_says_what_is_valid(override, tmp_path):
    with pytest.raises(Exception, match=IMPOSSIBLE[override]) as caught:
        train(tmp_path, *override.split())
    cause = caught.value.__cause__ or caught.value
    assert isinstance(cause, ValueError)
    assert not list(tmp_path.glob("level_*")), "training had begun"


def test_a_rising_ladder_is_refused(tmp_path):
    with pytest.raises(Exception, match=r"a ladder must fall: 0.3 is followed by 0.5"):
        train(tmp_path, "sparsity=list", "sparsity.densities=[0.3,0.5]")


@pytest.mark.parametrize("sparsity", names("sparsity"))
def test_every_ladder_ends_at_the_density_asked_for(sparsity, tmp_path):
    from hydra.utils import instantiate

    asked = [] if sparsity == "dense" else ["sparsity.density=0.3"]
    ladder = instantiate(configuration(tmp_path, f"sparsity={sparsity}", *asked).sparsity)
    assert ladder[0] == 1
    assert ladder[-1] == (1 if sparsity == "dense" else 0.3)


def test_pruning_takes_its_scores_from_the_trained_weights_of_the_level_before(tmp_path):
    train(tmp_path, *LADDER)
    before, after = tickets(tmp_path)[1:3]
    net = torch.nn.Module()
    weights = trained(levels(tmp_path)[1])
    names_ = {name: name.replace(".", "_") for name in before.masks}
    for name, attribute in names_.items():
        net.register_parameter(attribute, torch.nn.Parameter(weights[name]))
    start = Masks({attribute: before.masks[name].float() for name, attribute in names_.items()})
    expected = prune(net, start, 0.3, magnitude, global_)
    assert all(torch.equal(expected[names_[name]].bool(), mask) for name, mask in after.masks.items())


@pytest.mark.parametrize(("limit", "steps"), [("2", 2), ("0.75", 3), ("99", 4)])
def test_fewer_batches_an_epoch_make_a_level_shorter_and_its_epochs_stay(limit: str, steps: int, tmp_path: Path):
    train(tmp_path, "sparsity=one_shot", "sparsity.density=0.5", f"trainer.limit_train_batches={limit}")
    assert [float(row["epochs"]) for row in rows(tmp_path)] == [3, 3]
    assert [int(row["step"]) for row in curves(tmp_path)] == [epoch * steps for epoch in range(1, 7)]


def test_the_trainer_for_debugging_sees_two_batches_of_everything(tmp_path: Path):
    cfg = configuration(tmp_path, "trainer=debug")
    assert {cfg.trainer[f"limit_{kind}_batches"] for kind in ("train", "val", "test")} == {2}
    train(tmp_path, "trainer=debug", "method=dense", "sparsity=dense")
    assert int(curves(tmp_path)[-1]["step"]) == 3 * 2
