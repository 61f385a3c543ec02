"""What TensorBoard gets of an experiment, read back with its own reader."""

from pathlib import Path

import pytest

from lth.loggers import ExperimentTensorBoard
from tests.support.harness import train, train_apart
from tests.support.left import curves, rows

LADDER = "sparsity=list", "sparsity.densities=[0.5,0.3]"
CHOSEN = "choices.method=imp", "choices.model=mlp", "choices.dataset=synthetic"


@pytest.fixture(scope="module")
def resumed(tmp_path_factory) -> Path:
    """A run with TensorBoard that was killed in its second level and resumed."""
    folder, given = tmp_path_factory.mktemp("resumed"), (*LADDER, *CHOSEN, "logger=[csv,tensorboard]")
    assert train_apart(folder, given, ("step", 18)) == -9
    train(folder, *given, draw=True)
    return folder


@pytest.fixture(scope="module")
def events(resumed: Path):
    """TensorBoard's own reader, over the one event file of a resumed run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = (resumed / "tensorboard").glob("events.*")
    accumulator = EventAccumulator(str(file), {"images": 0, "scalars": 0, "histograms": 0})
    accumulator.Reload()
    return accumulator


@pytest.mark.slow
def test_tensorboard_has_each_epoch_and_level_of_a_resumed_run_once_in_one_file(resumed: Path, events):
    table = rows(resumed)
    assert [point.step for point in events.Scalars("train_loss")] == [int(row["step"]) for row in curves(resumed)]
    assert [point.step for point in events.Scalars("level/test_accuracy")] == [0, 1, 2]
    accuracies = [point.value for point in events.Scalars("level/test_accuracy")]
    assert accuracies == pytest.approx([float(row["test_accuracy"]) for row in table])


@pytest.mark.slow
def test_tensorboard_has_accuracy_against_density_and_histograms_of_layer_densities(resumed: Path, events):
    points = {point.step: point.value for point in events.Scalars("by_density/test_accuracy")}
    wanted = {round(10_000 * float(row["density"])): float(row["test_accuracy"]) for row in rows(resumed)}
    assert list(points) == sorted(wanted)
    assert points == pytest.approx(wanted)
    assert [point.step for point in events.Histograms("layer_densities")] == [0, 1, 2]
    assert events.Histograms("layer_densities")[0].histogram_value.min == 1
    assert any(name.startswith("layer_density/") for name in events.Tags()["scalars"])
    assert events.Images("picture/curve")[0].width > 100


@pytest.mark.slow
def test_the_tab_hparams_has_the_keys_of_all_runs_and_the_results_of_the_last_level(resumed: Path, tmp_path: Path):
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams.backend_context import Context

    other = ExperimentTensorBoard(str(tmp_path))
    chosen = {"choices": {"method": "rigl"}, "seed": 0, "method": {"every": "2%", "stages": {}, "_target_": "x"}}
    other.log_hyperparams(chosen)
    other.close()
    runs = EventMultiplexer({"resumed": str(resumed / "tensorboard"), "other": str(tmp_path / "tensorboard")})
    runs.Reload()
    plugin, request = Context(TBContext(data_provider=MultiplexerDataProvider(runs, ""))), RequestContext()
    given = plugin.hparams_metadata(request, ""), plugin.hparams_from_data_provider(request, "", 100)
    found = plugin.experiment_from_metadata(request, "", True, *given)
    names = {info.name: info for info in found.hparam_infos}
    assert {"method", "model", "dataset", "seed", "recipe.batch_size", "method.every"} <= set(names)
    assert not {"method._target_", "method.stages"} & set(names)
    assert names["method"].differs
    metrics = {f"{info.name.group}{info.name.tag}" for info in found.metric_infos}
    assert {"final/density", "final/val_accuracy", "final/test_accuracy"} <= metrics
