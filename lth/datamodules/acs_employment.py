"""ACSEmployment (Ding et al. 2021, arXiv 2108.04884): whether a person in Alabama's 2018 census survey is employed."""

import csv
from pathlib import Path
from typing import Any

import torch

from lth.datamodules._files import folder
from lth.datamodules._splits import check_fraction
from lth.datamodules.arrays import Arrays, Parts

_FILE = "psam_p01.csv"
_SOURCE = "https://www2.census.gov/programs-surveys/acs/data/pums/2018/1-Year/csv_pal.zip"
_FEATURES = (
    *("AGEP", "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG"),
    *("MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM", "SEX", "RAC1P"),
)
_EMPLOYED = 1  # value of ESR for an employed civilian at work


class ACSEmployment(Arrays):
    """The Census Bureau's person file psam_p01.csv in `root`, or in `root`/2018/1-Year as folktables stores it.

    A sample is an image of one pixel and 16 channels: age in years and 15 codes, 0 for a missing value, as in the
    folktables task ACSEmployment. Class 1 is employed. All persons of the file are used.

    test_share: fraction of the samples for the test set, drawn by scikit-learn's train_test_split
    test_seed: random_state of train_test_split
    arrays: the other keys, see `Arrays`
    """

    def __init__(self, *, test_share: float = 0.2, test_seed: int = 0, **arrays: Any) -> None:
        super().__init__(**arrays)
        check_fraction("test_share", test_share, whole=False)
        self.test_share, self.test_seed = test_share, test_seed

    def read(self, root: str | None) -> Parts:
        """The persons of the file, divided into training and test set."""
        from sklearn.model_selection import train_test_split

        table = torch.tensor(_read_columns(_find(folder(root)), (*_FEATURES, "ESR")), dtype=torch.uint8)
        images, labels = table[:, :-1, None, None], (table[:, -1] == _EMPLOYED).long()
        train, test = train_test_split(
            torch.arange(len(labels)), test_size=self.test_share, random_state=self.test_seed
        )
        return images[train], labels[train], images[test], labels[test]


def _find(base: Path) -> Path:
    """The path of the file. Raises FileNotFoundError that names the source."""
    places = [base / _FILE, base / "2018" / "1-Year" / _FILE]
    for path in places:
        if path.is_file():
            return path
    raise FileNotFoundError(f"{' and '.join(map(str, places))} are missing; unpack one of them from {_SOURCE}")


def _read_columns(path: Path, columns: tuple[str, ...]) -> list[list[int]]:
    """The rows of a CSV file, reduced to `columns`; an empty cell is 0.

    Raises ValueError naming a missing column, or the line of a cell that is not a whole number 0..255.
    """
    with path.open(newline="") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        if lacking := [column for column in columns if column not in header]:
            raise ValueError(f"{path} lacks the columns {', '.join(lacking)}; the person file of 2018 has them")
        at = [header.index(column) for column in columns]
        return [[_cell(row, index, f"{path}, line {rows.line_num}") for index in at] for row in rows]


def _cell(row: list[str], index: int, where: str) -> int:
    """The value of one cell. Raises ValueError that begins with `where`."""
    if index >= len(row):
        raise ValueError(f"{where}: the line is cut off")
    text = row[index]
    if text and not (text.isascii() and text.isdigit() and int(text) < 256):
        raise ValueError(f"{where}: {text!r} is not a whole number 0..255")
    return int(text or 0)
