"""Files of datasets: who is at fault when they cannot be read."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def folder(root: str | None) -> Path:
    """`root` as a path; ValueError if the configuration gives none."""
    if root is None:
        raise ValueError("dataset.root is null; give the folder that holds the files or may hold them")
    return Path(root).expanduser()


def opened(make: Callable[[], T], at: Path, files: Iterable[tuple[str, str]]) -> T:
    """`make()`, which lets torchvision download, verify or read; where it fails, an error naming the file at fault.

    files: name below `at` and md5 of each. FileNotFoundError for a missing one, ValueError for a damaged one.
    """
    from torchvision.datasets.utils import check_integrity

    try:
        return make()
    except Exception as error:
        for name, md5 in files:
            if not (at / name).is_file():
                raise FileNotFoundError(f"{at / name} is missing and could not be downloaded ({error})") from error
            if not check_integrity(str(at / name), md5):
                raise ValueError(
                    f"{at / name} is damaged (md5 is not {md5}); delete it to download it again"
                ) from error
        raise
