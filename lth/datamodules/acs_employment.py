"""ACSEmployment (Ding et al. 2021, arXiv 2108.04884): does a person of Alabama's 2018 census survey have a job?"""

import csv
from pathlib import Path
from typing import Any

import torch

from lth.datamodules.arrays import Arrays, Parts
from lth.datamodules.files import folder
from lth.datamodules.parts import check_fraction

FILE = "psam_p01.csv"
SOURCE = "https://www2.census.gov/programs-surveys/acs/data/pums/2018/1-Year/csv_pal.zip"
FEATURES = (
    *("AGEP", "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG"),
    *("MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM", "SEX", "RAC1P"),
)
EMPLOYED = 1  # of ESR: a civilian at work


class ACSEmployment(Arrays):
    """The Census Bureau's person file psam_p01.csv in `root`, or in `root`/2018/1-Year where folktables puts it.

    A sample is an image of 16 channels and one pixel: age in years and 15 codes, a missing one 0, as folktables'
    task of this name has them; class 1 is employed. Nobody is left out.
    test_share, test_seed: scikit-learn's train_test_split with this test_size and random_state.
    """

    def __init__(self, *, test_share: float = 0.2, test_seed: int = 0, **arrays: Any) -> None:
        super().__init__(**arrays)
        check_fraction("test_share", test_share, whole=False)
        self.test_share, self.test_seed = test_share, test_seed

    def read(self, root: str | None) -> Parts:
        from sklearn.model_selection import train_test_split

        table = torch.tensor(read_columns(found(folder(root)), (*FEATURES, "ESR")), dtype=torch.uint8)
        images, labels = table[:, :-1, None, None], (table[:, -1] == EMPLOYED).long()
        train, test = train_test_split(
            torch.arange(len(labels)), test_size=self.test_share, random_state=self.test_seed
        )
        return images[train], labels[train], images[test], labels[test]


def found(base: Path) -> Path:
    """The file; FileNotFoundError saying where to get it."""
    places = [base / FILE, base / "2018" / "1-Year" / FILE]
    for path in places:
        if path.is_file():
            return path
    raise FileNotFoundError(f"{' and '.join(map(str, places))} are missing; unpack either from {SOURCE}")


def read_columns(path: Path, columns: tuple[str, ...]) -> list[list[int]]:
    """The rows of a CSV file at these columns, 0 where nothing stands.

    ValueError naming the line where the file lacks a column or has anything else than a whole number up to 255.
    """
    with path.open(newline="") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        if lacking := [column for column in columns if column not in header]:
            raise ValueError(f"{path} lacks the columns {', '.join(lacking)}; the person file of 2018 has them")
        at = [header.index(column) for column in columns]
        return [[number(row, index, f"{path}, line {rows.line_num}") for index in at] for row in rows]


def number(row: list[str], index: int, where: str) -> int:
    """One cell; ValueError saying `where` it is."""
    text = row[index] if index < len(row) else "nothing: the line is cut off"
    if text and not (text.isascii() and text.isdigit() and int(text) < 256):
        raise ValueError(f"{where}: {text!r} is no whole number 0..255")
    return int(text or 0)
