"""Two processes train what one process trains with the same global batch; what differs between ranks is an error."""

from pathlib import Path

import pytest
import torch

from tests.harness import names, rows, state, train, train_on_ranks, usual

LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3]"


def weights(folder: Path) -> list[dict[str, torch.Tensor]]:
    levels = sorted(folder.glob("level_*"))
    return [torch.load(level / "last.ckpt", weights_only=True)["state_dict"] for level in levels]


@pytest.mark.slow
@pytest.mark.parametrize("method", names("method"))
def test_two_ranks_equal_one_process_with_the_same_global_batch(method: str, tmp_path: Path):
    overrides = usual(method, tmp_path)
    assert train_on_ranks(tmp_path / "two", overrides) == [0, 0]
    if "model.batch_norm=true" in overrides:
        return  # each rank normalises its own share of a batch: only that ranks agree holds, and training asserts that
    train(tmp_path / "one", *overrides)
    for two, one in zip(weights(tmp_path / "two"), weights(tmp_path / "one"), strict=True):
        assert all(torch.allclose(two[k], one[k], atol=1e-5) for k in one)
    for two, one in zip(rows(tmp_path / "two"), rows(tmp_path / "one"), strict=True):
        assert two["kept"] == one["kept"]
        assert float(two["test_accuracy"]) == pytest.approx(float(one["test_accuracy"]), abs=0.03)
        assert float(two["train_loss"]) == pytest.approx(float(one["train_loss"]), abs=1e-4)


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

    from lth.modules import ranks

    monkeypatch.setattr(ranks, "distributed", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_gather_object", lambda out, mine: out.__setitem__(slice(None), [mine, "other"]))
    with pytest.raises(AssertionError, match="masks differ between ranks"):
        ranks.assert_same("masks", "mine")
