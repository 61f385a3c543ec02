"""Whatever is written is written atomically: by lth/storage/atomic.py."""

import re
from pathlib import Path

import pytest

from lth.cli.ticket._create import write_state

LTH = Path(__file__).parents[2] / "lth"
# ways of writing a file in place
IN_PLACE = re.compile(
    r"\.write_text\(|\.write_bytes\(|torch\.save\("
    r"|\bsave_file\((?!tensors, temporary|whole, temporary|tensors, partial)"  # within `write_with`
    r"|open\([^)]*[\"']a?[wx]b?\+?[\"']"
)
OWN = {
    "storage/atomic.py",
    "datamodules/ffcv/_partial_beton.py",  # pages that are written again from the last whole one
}


@pytest.mark.parametrize("path", sorted(LTH.rglob("*.py")), ids=lambda path: path.relative_to(LTH).as_posix())
def test_no_other_file_writes_in_place(path: Path):
    if path.relative_to(LTH).as_posix() not in OWN:
        found = [line.strip() for line in path.read_text().splitlines() if IN_PLACE.search(line)]
        assert [line for line in found if not line.startswith(("from ", "import "))] == []


@pytest.mark.parametrize("name", ["state.pt", "state.safetensors"])
def test_a_state_dict_that_cannot_be_written_leaves_the_old_one(name: str, tmp_path: Path, monkeypatch):
    (tmp_path / name).write_text("before")
    monkeypatch.setattr("os.replace", _fails)
    with pytest.raises(OSError, match=name):
        write_state({}, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "before"


def _fails(*_):
    raise OSError(28, "No space left on device")
