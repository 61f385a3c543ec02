"""The folder of lth's configurations."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
# an installed package holds them; in a checkout they lie beside it
CONFIGURATIONS = next(filter(Path.is_dir, (_PACKAGE / "conf", _PACKAGE.parent / "conf")), _PACKAGE / "conf")
