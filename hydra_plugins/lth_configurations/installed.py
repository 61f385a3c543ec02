"""Adds the configuration folders of installed packages that declare an entry point in `lth.configurations`."""

from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from lth.cli.run import CONFIGURATIONS


class InstalledConfigurations(SearchPathPlugin):
    """Adds the configuration folders of installed packages to Hydra's search path, in programs of lth only.

    In the package's pyproject.toml:

        [project.entry-points."lth.configurations"]
        mine = "my_package.conf"

    The value is the dotted path of a folder in the package, with folders model/, method/, ... as in lth's own conf/.
    If lth has a file of the same name, lth's file is used.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Hydra's hook. Raises ValueError if an entry point does not name an existing folder."""
        if not any(Path(entry.path.removeprefix("file://")) == CONFIGURATIONS for entry in search_path.get_path()):
            return
        for point in sorted(entry_points(group="lth.configurations"), key=lambda point: point.name):
            search_path.append(provider=f"entry point {point.name}", path=f"file://{folder_of(point)}")


def folder_of(point: EntryPoint) -> Path:
    """The folder that an entry point names, found without importing its package. Raises ValueError if there is none."""
    package, *inner = point.value.split(".")
    spec = find_spec(package)
    for root in (spec.submodule_search_locations or []) if spec else []:
        if Path(root, *inner).is_dir():
            return Path(root, *inner)
    raise ValueError(
        f"the entry point {point.name} = {point.value!r} of lth.configurations names no folder of an installed package"
    )
