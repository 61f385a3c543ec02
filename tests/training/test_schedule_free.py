"""Schedule-free optimizers: everything but the gradients sees the average, as the paper defines it."""

from pathlib import Path

import pytest
import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from lth.analysis.linear_connectivity import _measure, level_end
from lth.experiment.build import Experiment
from lth.pruning.prunable import batch_norms
from lth.storage.checkpoint import load_checkpoint
from lth.storage.folder import RunFolder
from lth.tickets import Ticket
from tests.modules.test_kept_weights import run_level
from tests.support.harness import configuration, train, train_apart
from tests.support.left import rows, state

pytestmark = pytest.mark.slow

SCHEDULE = "recipe/schedule=schedule_free"
SGD = ["recipe/optimizer=schedule_free_sgd", SCHEDULE, "recipe.lr=0.5"]
ADAMW = ["recipe/optimizer=schedule_free_adamw", SCHEDULE, "recipe.lr=0.02"]
LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3]"


def averages(built: Experiment, folder: Path, *overrides: str, beta: float = 0.9) -> list[dict[str, torch.Tensor]]:
    """x after every step of three epochs, by the paper's three lines (equations 3 to 5), under the masks of `built`."""
    fresh = Experiment(configuration(folder, *overrides), RunFolder(folder))
    masks = {name: mask.double() for name, mask in built.masks.items()}
    x = {n: p.detach().double() * masks.get(n, 1) for n, p in fresh.net.named_parameters()}
    z, points, recipe = dict(x), [], fresh.recipes["train"]
    loader = fresh.data.train_dataloader()
    for epoch in range(3):
        loader.set_epoch(epoch)
        for images, labels in loader:
            y = {n: ((1 - beta) * z[n] + beta * x[n]).requires_grad_() for n in x}
            loss = cross_entropy(functional_call(fresh.net.double(), y, (images.double(),)), labels)
            gradients = torch.autograd.grad(loss, list(y.values()))
            share = 1 / (len(points) + 1)
            for name, gradient in zip(y, gradients, strict=True):
                step = (gradient + recipe.weight_decay * y[name].detach()) * masks.get(name, 1)
                z[name] = z[name] - recipe.lr * step
                x[name] = (1 - share) * x[name] + share * z[name]
            points.append(dict(x))
    return points


@pytest.mark.parametrize("val", [20, 0])
def test_what_a_level_leaves_is_the_papers_average(val, tmp_path):
    options = [*SGD, "recipe.precision=64-true", f"dataset.val_size={val}", "recipe.weight_decay=0.01"]
    built = run_level(tmp_path / "ours", *options)
    expected = averages(built, tmp_path / "reference", *options)[-1]
    for name, weight in built.net.named_parameters():
        assert torch.allclose(weight, expected[name], atol=1e-9), name


@pytest.mark.parametrize("options", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_validation_and_the_next_levels_ticket_see_the_average_that_is_saved(options, tmp_path):
    train(tmp_path, *options, *LADDER, "method=lrr", "model.batch_norm=true")
    levels = sorted(tmp_path.glob("level_*"))
    built = Experiment(configuration(tmp_path, *LADDER, "method=lrr", "model.batch_norm=true"), RunFolder(tmp_path))
    for index, row in enumerate(rows(tmp_path)):
        weights, _ = level_end(levels[index] / "last.ckpt")
        seen = _measure(built.net, weights, built.data.val_dataloader())
        assert seen["accuracy"] == pytest.approx(float(row["val_accuracy"]))
        assert seen["loss"] == pytest.approx(float(row["val_loss"]), abs=1e-5)
        tested = _measure(built.net, weights, built.data.test_dataloader())
        assert tested["loss"] == pytest.approx(float(row["test_loss"]), abs=1e-5)
        if index + 1 < len(levels):
            start = Ticket.load(levels[index + 1] / "ticket.safetensors").weights
            trained = load_checkpoint(levels[index] / "last.ckpt")["state_dict"]
            assert all(torch.equal(value, trained[f"net.{name}"]) for name, value in start.items())


def test_a_rewind_point_within_an_epoch_is_the_average_at_that_step(tmp_path):
    options = [*SGD, "recipe.weight_decay=0.01"]
    train(tmp_path / "run", *options, *LADDER, "method.rewind=6it", "checkpoint_seconds=1000")
    dense = Experiment(configuration(tmp_path / "dense", *options), RunFolder(tmp_path / "dense"))
    expected = averages(dense, tmp_path / "reference", *options)[5]
    saved = torch.load(tmp_path / "run" / "rewind.ckpt", weights_only=True)
    for name, value in expected.items():
        assert torch.allclose(saved["weights"][name].double(), value, atol=1e-5), name
    assert not any(group["train_mode"] for group in saved["optimizer"]["param_groups"])


def test_running_statistics_are_those_at_the_average(tmp_path):
    """Statistics of training steps belong to y. A mean over the training images belongs to the average x."""
    built = run_level(tmp_path, *SGD, "model.batch_norm=true", "recipe.batch_size=80")  # all images in one batch
    (norm, *_), net = batch_norms(built.net).values(), built.net
    images = torch.cat([x for x, _ in built.data.scoring_batches("any")])
    seen = []
    hook = norm.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        net.eval()(images)
    hook.remove()
    assert torch.allclose(norm.running_mean, seen[0].mean(0), atol=1e-5)
    assert torch.allclose(norm.running_var, seen[0].var(0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        [*SGD, "model.batch_norm=true"],
        pytest.param(ADAMW, marks=pytest.mark.engine),
        pytest.param([*ADAMW, "dataset.val_size=0", "recipe.accumulate=3"], marks=pytest.mark.engine),
        [*SGD, "method.rewind=6it", "method.optimizer_state=rewind"],
        pytest.param([*SGD, "recipe.cycles.n=3"], marks=pytest.mark.engine),
        [*SGD, "method=rigl", "method.every=2", "sparsity=one_shot", "sparsity.density=0.3"],
    ],
    ids=["sgd and batch norm", "adamw", "accumulation", "rewound", "cycles", "rigl"],
)
def test_killed_and_restarted_equals_uninterrupted(options, tmp_path):
    """Whether a checkpoint was due at an epoch's end or not."""
    chosen = [*([] if "method=rigl" in options else LADDER), *options]
    train(tmp_path / "whole", *chosen, "checkpoint_seconds=1000")
    for step in (6, 10):
        folder = tmp_path / f"killed{step}"
        assert train_apart(folder, chosen, ("step", step)) == -9
        train(folder, *chosen)
        assert state(folder) == state(tmp_path / "whole"), step


def test_a_cycle_with_a_fresh_optimizer_averages_anew_from_the_average(tmp_path):
    options = [*SGD, "recipe.epochs=2"]
    run = run_level(tmp_path / "cycles", *options, "recipe.cycles.n=2")
    (group, *_) = run.trainer.optimizers[0].param_groups
    assert group["k"] == 4  # steps of the second cycle alone
    kept = run_level(tmp_path / "kept", *options, "recipe.cycles.n=2", "recipe.cycles.optimizer=keep")
    assert kept.trainer.optimizers[0].param_groups[0]["k"] == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["recipe/schedule=schedule_free"], "not for SGD, which keeps no average"),
        (["recipe/optimizer=schedule_free_sgd"], "with the schedule multistep"),
        ([*SGD, "recipe.ema=0.9"], "averages itself"),
        ([*SGD, "method=str"], "no schedule-free optimizer"),
    ],
)
def test_what_does_not_go_together_is_said_before_training(options, message, tmp_path):
    with pytest.raises(Exception, match=message):
        Experiment(configuration(tmp_path, *options), RunFolder(tmp_path))
