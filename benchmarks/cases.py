"""Networks and recipes for timing training, as levels of an experiment on synthetic images."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from benchmarks.clock import Lap
from benchmarks.level import TimedLevel
from benchmarks.setting import Setting
from lth.cli.run import register_resolvers
from lth.experiment.loop import quiet_lightning

CONF = Path(__file__).parent.parent / "conf"


@dataclass(frozen=True)
class Case:
    """A network with its usual recipe, on synthetic images.

    overrides: of the configuration
    cpu_steps, cuda_steps: training steps in one run
    batch: images of a step
    """

    title: str
    overrides: tuple[str, ...]
    cpu_steps: int
    cuda_steps: int
    batch: int = 128


RESNET20 = Case("ResNet-20", ("recipe=cifar", "model=resnet20", "dataset.image_size=32", "dataset.channels=3"), 25, 250)
LENET = Case("LeNet-300-100", ("recipe=mnist", "model=lenet_300_100", "dataset.image_size=28"), 400, 400)
MLP = Case(
    "MLP 784-2048-2048-10", ("recipe=mnist", "model=mlp", "model.widths=[2048,2048]", "dataset.image_size=28"), 25, 400
)
DIGITS = Case(
    "LeNet-300-100 on digits", ("recipe=digits", "model=lenet_300_100", "dataset.image_size=8"), 2000, 2000, batch=60
)
CASES = (RESNET20, LENET)
UNPRUNED = ("method=dense",)


@contextmanager
def timed_level(case: Case, setting: Setting, *overrides: str) -> Iterator[TimedLevel]:
    """A level of `case`, in a temporary folder.

    overrides: of the configuration, such as the method
    """
    quiet_lightning()
    first, batch = (1, 8) if setting.quick else (3, case.batch)
    steps = setting.amount(case.cpu_steps, case.cuda_steps, quick=2)
    with TemporaryDirectory() as folder:
        images = (f"dataset.train_size={batch * (first + steps + 1)}", f"dataset.test_size={batch}")
        tiny = ("dataset.image_size=8",) if setting.quick else ()
        sizes = (f"recipe.batch_size={batch}", *images, *tiny)
        cfg = configuration(setting, *case.overrides, *sizes, *overrides, f"folder={folder}")
        yield TimedLevel(cfg, Path(folder), Lap(first, steps, setting.device))


def configuration(setting: Setting, *overrides: str) -> DictConfig:
    """The configuration of one epoch on synthetic images, with the device and precision of `setting`."""
    register_resolvers()
    GlobalHydra.instance().clear()
    fixed = ("dataset=synthetic", "dataset.val_size=0", "recipe.epochs=1", "recipe/schedule=constant", "logger=none")
    trainer = "gpu" if setting.device.type == "cuda" else "cpu"
    precision = "bf16-mixed" if setting.bf16 else "32-true"
    where = (f"trainer={trainer}", f"recipe.precision={precision}")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=[*fixed, *where, *overrides])
