"""Sweeps on a real Ray cluster of two nodes, started here on one machine."""

import re
from pathlib import Path

import pytest

from tests.harness import state, train
from tests.sweeping import output, run_folders, sweep, wait_for

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'lth[ray]'")
LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3]"


@pytest.fixture
def cluster():
    """Two nodes of one CPU each; jobs of one CPU must use both."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.mark.slow
def test_a_sweep_uses_both_nodes_survives_a_failing_job_and_resumes_what_a_lost_node_was_doing(cluster, tmp_path: Path):
    given = "hydra/launcher=ray", f"hydra.launcher.address={cluster.address}", *LADDER, "recipe.epochs=150"
    sweeping = sweep(tmp_path, *given, "seed=0,1", "recipe.lr=0.1,-1")
    wait_for(lambda: len(_begun(tmp_path)) == 2 or sweeping.poll() is not None)
    cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)
    assert sweeping.wait() == 1
    text = output(tmp_path)
    assert text.count("job again: ") == 1
    assert len(set(re.findall(r"on node (\w+): ", text))) >= 1
    assert "2 of 4 jobs finished" in text
    assert "from its last checkpoint" in text
    assert [folder.name for folder in run_folders(tmp_path)] == ["seed0", "seed1"]
    for folder in run_folders(tmp_path):
        whole = tmp_path / f"whole-{folder.name}"
        train(whole, *LADDER, "recipe.epochs=150", f"seed={folder.name[4:]}", "recipe.lr=0.1")
        assert state(folder) == state(whole)
    assert sweep(tmp_path, *given, "seed=0,1", "recipe.lr=0.1").wait() == 0
    assert output(tmp_path).count("finished already: ") == 2


def _begun(cwd: Path) -> list[Path]:
    """Runs that are a few epochs into their first level."""
    return [path for path in cwd.glob("runs/**/metrics.csv") if len(path.read_text().splitlines()) > 4]
