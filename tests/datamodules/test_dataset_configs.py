"""Every configuration of a dataset and of augmentation composes and instantiates."""

from pathlib import Path

import hydra
import pytest

import lth
from lth.datamodules import Dataset

CONF = Path(lth.__file__).parents[1] / "conf"
DATASETS = sorted(path.stem for path in (CONF / "dataset").glob("[!_]*.yaml"))
AUGMENTS = sorted(path.stem for path in (CONF / "recipe" / "augment").glob("[!_]*.yaml"))


def composed(*overrides):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", list(overrides))


@pytest.mark.slow
@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_composes_and_instantiates(name, monkeypatch, tmp_path):
    monkeypatch.setenv("LTH_DATA", str(tmp_path))
    config = composed(f"dataset={name}", "recipe.batch_size=50", "seeds.data=7")
    data = hydra.utils.instantiate(config.dataset)
    assert isinstance(data, Dataset)
    assert (data.sampling.batch_size, data.sampling.seed, data.level) == (50, 7, 0)
    assert data.root in (None, str(tmp_path), str(tmp_path / "imagenet"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_datasets_without_files_are_ready_at_once(name):
    data = hydra.utils.instantiate(composed(f"dataset={name}").dataset)
    data.setup()
    x, y = next(iter(data.train_dataloader()))
    assert x.shape == (data.sampling.batch_size, 1, 8, 8)
    assert len(y) == data.sampling.batch_size
    assert data.val_dataloader()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "recipe"), [("digits", "digits"), ("mnist", "mnist"), ("cifar100", "cifar"), ("imagenet", "imagenet")]
)
def test_a_dataset_brings_its_usual_recipe_and_the_command_line_wins(dataset, recipe):
    assert composed(f"dataset={dataset}").recipe == composed(f"dataset={dataset}", f"recipe={recipe}").recipe
    other = composed(f"dataset={dataset}", "recipe=" + {"cifar": "mnist"}.get(recipe, "cifar"))
    assert other.recipe != composed(f"dataset={dataset}").recipe


@pytest.mark.slow
@pytest.mark.parametrize("name", AUGMENTS)
def test_every_augmentation_is_known_to_its_datasets(name):
    dataset, other = ("imagenet", "cifar10") if name == "resized_crop" else ("cifar10", "imagenet")
    with pytest.raises(hydra.errors.InstantiationException, match="augment keys"):
        hydra.utils.instantiate(composed(f"dataset={other}", f"recipe/augment={name}").dataset)
    config = composed(f"dataset={dataset}", f"recipe/augment={name}")
    assert vars(hydra.utils.instantiate(config.dataset).augment) == dict(config.recipe.augment)


@pytest.mark.slow
def test_the_three_protocols_of_the_digits_are_a_matter_of_keys():
    keys = ["train_count=1437", "permute_seed=1234", "standardise=pixel", "val_size=0", "drop_last=true"]
    data = hydra.utils.instantiate(composed("dataset=digits", *(f"dataset.{key}" for key in keys)).dataset)
    data.setup()
    assert data.train_size == 1437


@pytest.mark.parametrize(
    "path", [*(CONF / "dataset").glob("[!_]*.yaml"), *(CONF / "recipe" / "augment").glob("[!_]*.yaml")]
)
def test_every_file_begins_by_saying_what_it_is(path):
    assert path.read_text().startswith("# ")
