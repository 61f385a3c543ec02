"""Files of datasets: their folder, errors that name the file at fault, and a progress bar for long preparations."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")


def folder(root: str | None) -> Path:
    """`root` as a path, with ~ expanded. Raises ValueError if it is None."""
    if root is None:
        raise ValueError("dataset.root is null; give the folder that holds the files, or that they are downloaded to")
    return Path(root).expanduser()


def open_verified(make: Callable[[], T], at: Path, files: Iterable[tuple[str, str]]) -> T:
    """The result of `make`, in which torchvision downloads, verifies or reads files.

    at: folder of the files
    files: (name, md5) of each file

    If `make` fails, raises FileNotFoundError for the first file that is missing or ValueError for the first that is
    damaged, and else the original error.
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


@contextmanager
def progress_bar(what: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, or one line if that is no terminal; yields a function that adds to the count.

    what: text before the bar
    total: count at which the bar is full
    done: initial count
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"{what}: {done} of {total} done" if done else f"{what}: {total}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total, completed=done)
        yield lambda count: progress.advance(task, count)
