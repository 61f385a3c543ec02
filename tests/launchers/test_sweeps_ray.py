"""Sweeps on a real Ray cluster of two nodes, started here on one machine."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support import own_parts
from tests.support.harness import train
from tests.support.left import state
from tests.support.sweeping import output, run_folders, sweep, wait_for

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'lth[ray]'"),
]
LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3]"


@pytest.fixture
def cluster(monkeypatch):
    """A head that runs no job, and one node of one CPU; tests add the second."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_worker_niceness", "0")  # by default 15: beside other tests its jobs get hardly any time
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.first = cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def on(cluster, *overrides: str) -> tuple[str, ...]:
    return "hydra/launcher=ray", f"hydra.launcher.address={cluster.address}", *LADDER, *overrides


def test_a_sweep_uses_both_nodes_and_a_failing_job_ends_no_other(cluster, tmp_path: Path):
    cluster.add_node(num_cpus=1)
    assert sweep(tmp_path, *on(cluster, "seed=0,1", "recipe.lr=0.1,-1")).wait() == 1
    assert "2 of 4 jobs finished" in output(tmp_path)
    assert len(set(re.findall(r"on node (\w+): ", output(tmp_path)))) == 2
    assert [folder.name for folder in run_folders(tmp_path)] == ["seed0", "seed1"]
    assert sweep(tmp_path, *on(cluster, "seed=0,1", "recipe.lr=0.1")).wait() == 0
    assert output(tmp_path).count("finished already: ") == 2


def test_what_a_lost_node_was_doing_goes_on_elsewhere_to_the_same_bits(cluster, tmp_path: Path):
    sweeping = sweep(tmp_path, *on(cluster, "recipe.epochs=40", "seed=0"))
    wait_for(lambda: _epochs(tmp_path) > 4 or sweeping.poll() is not None)
    cluster.remove_node(cluster.first, allow_graceful=False)
    cluster.add_node(num_cpus=1)
    assert sweeping.wait() == 0, output(tmp_path)
    assert output(tmp_path).count("job again: ") == 1
    assert "from its last checkpoint" in output(tmp_path)
    train(tmp_path / "whole", *LADDER, "recipe.epochs=40", "seed=0")
    assert state(run_folders(tmp_path)[0], optimizer=False) == state(tmp_path / "whole", optimizer=False)


def test_parts_of_a_users_own_reach_the_nodes(cluster, tmp_path: Path):
    own_parts.write(tmp_path)
    launcher = "hydra/launcher=ray", f"hydra.launcher.address={cluster.address}"
    started = sweep(tmp_path, *launcher, *own_parts.RUN, "trainer=cpu", "seed=0", defaults=())
    assert started.wait() == 0, output(tmp_path)
    assert len(list(tmp_path.glob("runs/**/seed0/level_00_*/note"))) == 1


def _epochs(cwd: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in cwd.glob("runs/**/metrics.csv"))
