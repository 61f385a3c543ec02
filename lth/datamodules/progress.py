"""A bar for what is done once and takes long: downloads, decoding, conversions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def advancing(what: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show `done` of `total` in a terminal's standard error, elsewhere one line; gives a function that adds to it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"{what}: {done} of {total} done" if done else f"{what}: {total}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total, completed=done)
        yield lambda count: progress.advance(task, count)
