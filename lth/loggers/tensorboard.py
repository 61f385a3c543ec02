"""TensorBoard: curves against the optimizer step, results of levels against the level's index and against density."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

_GROUPS = ("method", "model", "sparsity", "support", "recipe")  # whose plain keys are hyper-parameters
_METRICS = ("final/density", "final/val_accuracy", "final/test_accuracy")
_OF_LEVELS = ("level/", "layer_density", "final/")  # tags whose step is a level's index
_WRITTEN_AGAIN = ("_hparams_/", "by_density/", "picture/")  # tags that every finished run writes itself
_SHARES = 10_000  # density in parts of 10,000 as the x axis, because steps are whole numbers


class ExperimentTensorBoard(TensorBoardLogger):
    """Writes one event file per experiment, into `<folder>/tensorboard`.

    folder: the run's folder

    A resumed run copies the events of its earlier file into a new one, up to its checkpoint, and removes the earlier
    file. Raises ImportError where tensorboard is not installed (pip install 'lth[tensorboard]').
    """

    def __init__(self, folder: str):
        self.check_installed()
        super().__init__(save_dir=folder, name="", version="tensorboard")
        self._earlier: list[Path] = []  # event files of earlier processes

    @staticmethod
    def check_installed() -> None:
        """Raise ImportError where tensorboard is not installed."""
        if not find_spec("tensorboard") and not find_spec("tensorboardX"):  # Lightning writes with either
            raise ImportError("logger=tensorboard needs tensorboard: pip install 'lth[tensorboard]'")

    @rank_zero_only
    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Write the hyper-parameters, for the tab HPARAMS.

        params: the resolved configuration

        No list of all hyper-parameters is written: TensorBoard would use the list of one run for all runs and omit
        keys that only other methods have. Without it, TensorBoard makes the list from the runs and treats every scalar
        as a metric.
        """
        if find_spec("tensorboard"):  # which reads event files; tensorboardX only writes them
            self._earlier = sorted(Path(self.log_dir).glob("events.out.tfevents.*"))
        self.experiment._get_file_writer().add_summary(_hparams(_hyperparameters(dict(params)))[0])

    @rank_zero_only
    def restore(self, level: int, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Move the events in files of interrupted runs into this run's file, without curves after `step`.

        level, rows: not used, because the earlier file holds all rows
        step: optimizer step, counted over all levels, that the run has reached
        """
        kept = {}  # (tag, step) -> event: the last one written
        for event in (event for file in self._earlier for event in _events(file)):
            for value in event.summary.value:
                if not value.tag.startswith(_WRITTEN_AGAIN) and (
                    value.tag.startswith(_OF_LEVELS) or event.step <= step
                ):
                    kept[value.tag, event.step] = event
        writer = self.experiment._get_file_writer()
        for event in kept.values():
            writer.add_event(event, walltime=event.wall_time)
        writer.flush()
        for file in self._earlier:
            file.unlink()
        self._earlier = []

    @rank_zero_only
    def log_level(self, outcomes: Sequence[Mapping[str, Any]], ticket: Path) -> None:
        """Log the last level's results and the densities of its layers, with the level's index as the step.

        outcomes: one per level so far: `row` of results.csv, and `layers`, its rows of layers.csv
        ticket: the level's ticket file, which TensorBoard does not store
        """
        import numpy

        row, layers = outcomes[-1]["row"], outcomes[-1]["layers"]
        numbers = {f"level/{k}": v for k, v in row.items() if isinstance(v, int | float)}
        final = {name: row[key] for name in _METRICS if (key := name.partition("/")[2]) in row}
        densities = {f"layer_density/{layer['layer']}": layer["density"] for layer in layers}
        self.log_metrics({**numbers, **final, **densities}, step=row["level"])
        whole = numpy.array([layer["density"] for layer in layers])
        self.experiment.add_histogram("layer_densities", whole, row["level"])

    @rank_zero_only
    def log_run(self, outcomes: Sequence[Mapping[str, Any]], pictures: Sequence[Path]) -> None:
        """Log accuracy against density, the pictures, and that the run is finished.

        outcomes: one per level, as in `log_level`
        pictures: paths of PNG files

        The step of `by_density/...` is the density in parts of 10,000, in rising order, as TensorBoard needs it.
        """
        from matplotlib.image import imread

        for row in sorted((outcome["row"] for outcome in outcomes), key=lambda row: row["density"]):
            for name in ("val_accuracy", "test_accuracy"):
                if name in row:
                    self.log_metrics({f"by_density/{name}": row[name]}, step=round(row["density"] * _SHARES))
        for path in pictures:
            self.experiment.add_image(f"picture/{path.stem}", imread(path), len(outcomes) - 1, dataformats="HWC")
        self.experiment._get_file_writer().add_summary(_hparams({})[1])

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write buffered events to disk. Lightning calls it after each level and each test, and would close the file.

        status: not used
        """
        self.experiment.flush()

    @rank_zero_only
    def close(self) -> None:
        """Write buffered events to disk and close the file."""
        self.experiment.close()


def _hyperparameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Names of the choices, the seed, and the numbers, words and switches of the groups that decide the result."""
    found = {**config["choices"], "seed": config["seed"]}
    for group in _GROUPS:
        for key, value in (config.get(group) or {}).items():
            if isinstance(value, bool | int | float | str) and not key.startswith("_"):
                found[f"{group}.{key}"] = value
    return found


def _hparams(values: Mapping[str, Any]) -> tuple[Any, Any]:
    """The summaries of the tab HPARAMS that begin a session with hyper-parameters `values`, and that end it."""
    if find_spec("tensorboard"):
        from torch.utils.tensorboard.summary import hparams
    else:
        from tensorboardX.summary import hparams
    _, start, end = hparams(dict(values), {})
    return start, end


def _events(file: Path) -> Any:
    """The events of a file, as far as a killed process has written it."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    return LegacyEventFileLoader(str(file)).Load()  # as they were written, so that they can be written again
