"""Tickets in the files of other programs. Each module here reads one program's files and may write them too.

A new layout is one file here, named like the program. All layouts have the same functions:

`read(source, weights=None, **options) -> Ticket`
source: file or folder that holds the masks
weights: file of the weights to start from, if the source does not hold them
options: the layout's own keyword arguments; the command line passes algorithm, density, prefix, form, allow_zeros

`write(ticket, path) -> None`, in layouts that can also be written: writes a file that the program reads. Unmasked
starting weights are written beside the masks.

Both raise FileNotFoundError for a missing file and ValueError for a file of another kind.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

# Name -> module with `read` and, in some layouts, `write`.
LAYOUTS: dict[str, ModuleType] = {
    module.name: import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)
}

__all__ = ["LAYOUTS"]
