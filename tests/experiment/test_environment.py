"""What a run records of where it was made: revisions of lth and of the user's project."""

import subprocess
from pathlib import Path

import pytest

from lth.experiment._environment import _git

pytestmark = pytest.mark.slow


def git(folder: Path, *arguments: str) -> None:
    who = "-c", "user.name=test", "-c", "user.email=test@example.org"
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def test_a_revision_is_that_of_the_repository_which_tracks_the_path(tmp_path: Path):
    assert _git(tmp_path) is None
    git(tmp_path, "init")
    (tmp_path / "mine.py").write_text("a = 1\n")
    (tmp_path / "environment" / "lth").mkdir(parents=True)
    (tmp_path / "environment" / "lth" / "code.py").write_text("")
    assert _git(tmp_path) is None
    git(tmp_path, "add", "mine.py")
    git(tmp_path, "commit", "-m", "one")
    revision = _git(tmp_path)
    assert revision is not None
    assert len(revision) >= 7
    assert _git(tmp_path / "mine.py") == revision
    assert _git(tmp_path / "environment" / "lth" / "code.py") is None, "an environment in the project is not its code"
    (tmp_path / "mine.py").write_text("a = 2\n")
    assert _git(tmp_path) == f"{revision}+changes"
