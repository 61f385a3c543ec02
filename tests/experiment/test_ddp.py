"""Two processes train what one process trains with the same global batch; what differs between ranks is an error."""

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lth.experiment.build import Experiment, check_sync_batchnorm
from lth.storage.checkpoint import load_checkpoint
from lth.storage.folder import RunFolder
from lth.tickets import Ticket
from tests.support.harness import configuration, names, train, train_all_on_ranks, train_apart, train_on_ranks, usual
from tests.support.kinds import REPRESENTATIVES
from tests.support.left import rows, state

LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3]"
STARTS = {"first half": REPRESENTATIVES[::2], "second half": REPRESENTATIVES[1::2]}  # of two processes each


def weights(folder: Path) -> list[dict[str, torch.Tensor]]:
    levels = sorted(folder.glob("level_*"))
    return [load_checkpoint(level / "last.ckpt")["state_dict"] for level in levels]


def masks(folder: Path) -> list[dict[str, torch.Tensor]]:
    return [Ticket.load(path).masks for path in sorted(folder.glob("level_*/ticket.safetensors"))]


@pytest.mark.slow
@pytest.mark.parametrize("methods", STARTS.values(), ids=list(STARTS))
def test_two_ranks_equal_one_process_with_the_same_global_batch(methods: Sequence[str], tmp_path: Path):
    """Masks to the last bit, for a method of each kind.

    The ranks compare weights and masks at both ends of a level themselves.
    """
    exact = "recipe.precision=64-true"  # in float32 a sum in another order may turn a near tie between two scores
    runs = {method: [*usual(method, tmp_path), exact] for method in methods}
    assert train_all_on_ranks([(tmp_path / "two" / method, how) for method, how in runs.items()]) == [0, 0]
    for method, how in runs.items():
        if "model.batch_norm=true" in how:
            continue  # each rank normalises its share of a batch by itself, so the results differ from one process
        train(tmp_path / "one" / method, *how)
        compare(tmp_path / "two" / method, tmp_path / "one" / method, method)


def compare(two: Path, one: Path, method: str) -> None:
    for ours, theirs in zip(masks(two), masks(one), strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs), method
    for ours, theirs in zip(weights(two), weights(one), strict=True):
        assert all(torch.allclose(ours[name], theirs[name], rtol=1e-7, atol=1e-9) for name in theirs), method
    for ours, theirs in zip(rows(two), rows(one), strict=True):
        assert ours["kept"] == theirs["kept"], method
        assert ours["test_accuracy"] == theirs["test_accuracy"], method
        assert float(ours["train_loss"]) == pytest.approx(float(theirs["train_loss"]), abs=1e-5), method


@pytest.mark.slow
def test_a_killed_rank_ends_the_run_and_the_restart_is_bit_exact(tmp_path: Path):
    assert train_on_ranks(tmp_path / "whole", LADDER) == [0, 0]
    codes = train_on_ranks(tmp_path / "killed", LADDER, bombs={1: ("step", 18)})
    assert codes[1] == -9
    assert codes[0] != 0
    assert train_on_ranks(tmp_path / "killed", LADDER) == [0, 0]
    assert state(tmp_path / "killed") == state(tmp_path / "whole")


def test_ranks_that_drift_apart_are_noticed(monkeypatch):
    import torch.distributed as dist

    from lth.training import ranks

    monkeypatch.setattr(ranks, "_distributed", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_gather_object", lambda out, mine: out.__setitem__(slice(None), [mine, "other"]))
    with pytest.raises(AssertionError, match="masks differ between ranks"):
        ranks.assert_same("masks", "mine")


@pytest.mark.slow
def test_the_number_of_ranks_may_change_between_levels_and_within_one(tmp_path: Path):
    """2, then 1, then 2 ranks: what is left is that of one process but for the order of sums."""
    exact = *LADDER, "recipe.precision=64-true"
    train(tmp_path / "one", *exact)
    folder = tmp_path / "changing"
    assert -9 in train_on_ranks(folder, exact, bombs={0: ("after finish", 0)})  # between levels
    assert train_apart(folder, exact, ("step", 6)) == -9  # after an epoch of level 1 in one process
    assert len(list(folder.glob("level_*/finished"))) == 1
    assert train_on_ranks(folder, exact) == [0, 0]
    compare(folder, tmp_path / "one", "imp")


@pytest.mark.slow
def test_every_test_image_counts_once_where_the_ranks_do_not_share_evenly(tmp_path: Path):
    odd = "dataset.test_size=41", "dataset.val_size=21", "dataset.train_size=101", "recipe.precision=64-true"
    assert train_on_ranks(tmp_path / "two", [*LADDER, *odd]) == [0, 0]
    train(tmp_path / "one", *LADDER, *odd)
    for two, one in zip(rows(tmp_path / "two"), rows(tmp_path / "one"), strict=True):
        for metric in ("test_accuracy", "test_loss", "val_accuracy", "val_loss"):
            assert float(two[metric]) == pytest.approx(float(one[metric]), abs=1e-6), metric
        assert float(one["test_accuracy"]) * 41 == pytest.approx(round(float(one["test_accuracy"]) * 41), abs=1e-4)


@pytest.mark.slow
def test_lightnings_collectives_for_signals_stay_out_of_the_training_step(tmp_path: Path):
    built = Experiment(configuration(tmp_path, "trainer=ddp_cpu", "trainer.devices=1"), RunFolder(tmp_path))
    trainer = built.trainer(built.levels[0], [], [])
    with OperatorCount() as count:
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor()
    assert count.operators == 0
    before = signal.getsignal(signal.SIGTERM)
    trainer._signal_connector.register_signal_handlers()
    assert signal.getsignal(signal.SIGTERM) is before


class OperatorCount(TorchDispatchMode):
    operators = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operators += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["on the CPU", "fused with an activation"])
def test_a_synchronised_batch_norm_that_cannot_be_is_refused(kind: str):
    net = torch.nn.Sequential(torch.nn.BatchNorm2d(2))
    if kind != "on the CPU":
        net = torch.nn.Sequential(type("BatchNormAct", (torch.nn.BatchNorm2d,), {})(2))
    with pytest.raises(ValueError, match="sync_batchnorm.*GPUs" if kind == "on the CPU" else "BatchNormAct"):
        check_sync_batchnorm(net, "cpu" if kind == "on the CPU" else "cuda")
    check_sync_batchnorm(torch.nn.Sequential(torch.nn.BatchNorm2d(2)), "cuda")


@pytest.mark.slow
def test_no_option_of_the_trainer_synchronises_batch_norm_by_default(tmp_path: Path):
    places = {"cpu", "gpu", "ddp", "ddp_cpu", "slurm", "debug"}
    assert places <= set(names("trainer"))
    assert all(configuration(tmp_path, f"trainer={place}").trainer.sync_batchnorm is False for place in places)
