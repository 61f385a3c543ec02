"""ACSEmployment equals folktables' task on a file of the Census Bureau's format; errors name the wrong cell."""

import csv

import hydra
import numpy as np
import pytest
import torch
from sklearn.model_selection import train_test_split

from lth.datamodules import ACSEmployment
from lth.datamodules.acs_employment import _FEATURES
from tests.datamodules.test_dataset_configs import composed

SHAPE = {"classes": 2, "channels": 16, "image_size": 1, "scale": 1, "standardise": "pixel", "std_eps": 1e-3}
HIGHEST = (99, 24, 5, 17, 2, 8, 5, 3, 4, 4, 2, 2, 2, 2, 2, 9)  # codes of the survey's dictionary, in _FEATURES' order
OTHERS = ("RT", "SERIALNO", "ADJINC")  # some of the file's other columns


@pytest.fixture
def person_file(tmp_path):
    """A file of 200 people with empty cells and columns in another order than the task's, and its content."""
    random = np.random.default_rng(0)
    people = random.integers(0, np.array([*HIGHEST, 6]) + 1, (200, 17))  # 0 stands for a blank
    names = [*_FEATURES, "ESR"]
    columns = [OTHERS[0], *reversed(names), *OTHERS[1:]]
    with (tmp_path / "psam_p01.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for person in people:
            cells = {name: f"{value:02d}" if value else "" for name, value in zip(names, person, strict=True)}
            writer.writerow({"RT": "P", "SERIALNO": "2018GQ0000049", "ADJINC": "1013097", **cells})
    return tmp_path / "psam_p01.csv", people


def ready(root, **keys):
    data = ACSEmployment(root=str(root), **{**SHAPE, **keys})
    data.prepare_data()
    data.setup()
    return data


def test_people_are_read_and_divided_as_other_programs_do(person_file):
    path, people = person_file
    train_x, train_y, test_x, test_y = ready(path.parent).read(str(path.parent))
    features, employed = people[:, :16].astype(np.float64), people[:, 16] == 1
    expected = train_test_split(features, employed, test_size=0.2, random_state=0)
    for made, theirs in zip((train_x, test_x, train_y, test_y), expected, strict=True):
        assert torch.equal(made.squeeze().double(), torch.from_numpy(theirs).double())
    assert train_x.shape == (160, 16, 1, 1)
    assert (train_x.dtype, train_y.dtype) == (torch.uint8, torch.int64)


def test_every_feature_is_standardised_on_its_own(person_file):
    data = ready(person_file[0].parent, val_size=0.25)
    x = torch.cat([x for x, _ in data.scoring_batches(0)])
    assert x.shape == (120, 16, 1, 1)
    torch.testing.assert_close(x.mean(0).flatten(), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0).flatten(), torch.ones(16), atol=1e-2, rtol=0)


def test_folktables_folder_is_found_and_the_test_seed_divides(person_file, tmp_path):
    path, _ = person_file
    (tmp_path / "deep" / "2018" / "1-Year").mkdir(parents=True)
    path.rename(tmp_path / "deep" / "2018" / "1-Year" / path.name)
    tested = [ready(tmp_path / "deep", test_seed=seed).part("test")[0] for seed in (0, 0, 1)]
    assert torch.equal(tested[0], tested[1])
    assert not torch.equal(tested[0], tested[2])


def test_a_missing_file_is_named_with_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"psam_p01.csv .*2018/1-Year/psam_p01.csv are missing; .*csv_pal.zip"):
        ready(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("RELP", "RELSHIPP", "lacks the columns RELP; the person file of 2018"),
        ("2018GQ0000049,1013097", "2018GQ0000049", None),
        ("P,01", "P,one", r"line \d+: 'one' is not a whole number 0..255"),
        ("P,01", "P,1.5", r"line \d+: '1.5' is not a whole number"),
        ("P,01", "P,-1", r"line \d+: '-1' is not a whole number"),
        ("P,01", "P,256", r"line \d+: '256' is not a whole number"),
    ],
)
def test_what_is_no_such_file_is_refused_naming_the_line(person_file, old, new, message):
    path, _ = person_file
    path.write_text(path.read_text().replace(old, new, 1))
    if message is None:  # a column that is not read
        ready(path.parent)
        return
    with pytest.raises(ValueError, match=message):
        ready(path.parent)


def test_a_file_that_was_cut_off_is_refused(person_file):
    path, _ = person_file
    path.write_text(path.read_text()[:-40])
    with pytest.raises(ValueError, match="line 201: the line is cut off"):
        ready(path.parent)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "psam_p01.csv").touch()
    with pytest.raises(ValueError, match="lacks the columns AGEP, SCHL"):
        ready(tmp_path)


@pytest.mark.parametrize("share", [0, 1, 20])
def test_a_test_set_that_is_no_fraction_is_refused(share):
    with pytest.raises(ValueError, match=f"test_share={share}; valid: a fraction over 0 and under 1"):
        ACSEmployment(**SHAPE, test_share=share)


@pytest.mark.slow
def test_the_configuration_reads_the_file(person_file):
    config = composed("dataset=acs_employment", f"dataset.root={person_file[0].parent}")
    data = hydra.utils.instantiate(config.dataset)
    data.setup()
    assert (data.train_size, len(data.part("val")[1]), len(data.part("test")[1])) == (144, 16, 40)
    assert next(iter(data.train_dataloader()))[0].shape == (60, 16, 1, 1)
