"""Runs the commands of a tutorial as a reader would: `python -m docs.pages.run_page PAGE` writes their output into it.

Blocks of a page are followed from top to bottom in an empty folder. A block with a title, such as
```` ```python title="mine.py" ````, is written to that file. In a block ```` ```console ````, a line `$ COMMAND`
(continued by a backslash) is run, and the lines after it are what it printed. Blocks after a mark
`<!-- needs: slurm -->` are left out; `--needs slurm` runs these alone.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r'^(?:<!-- needs: (\w+) -->\n)?```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_TIME = re.compile(r"[\d.,]+(?= (?:s|ms|min|it/s|jobs/s)\b)|[\d.]+(?=\s*[│|]\s*$)", re.MULTILINE)
_DIGEST = re.compile(r"\b[0-9a-f]{32,}\b|(?<=_)[0-9a-f]{32,}\b")  # of weights, which differ between kinds of processors
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Command:
    """A command of a page, what the page says that it prints, and what it printed."""

    line: str
    expected: str
    printed: str
    code: int


def run(page: Path, folder: Path, needs: str = "", python: str = sys.executable) -> Iterator[Command]:
    """Follow a page in an empty folder.

    needs: what the commands that are run need, as the mark before their block says; by default those without a mark
    python: the interpreter of the commands `python` and `lth`
    """
    for mark, language, title, content in _BLOCK.findall(page.read_text()):
        if title:
            (folder / title).parent.mkdir(parents=True, exist_ok=True)
            (folder / title).write_text(_with_files(content))
        elif language == "console" and mark == needs:
            for line, expected in _COMMAND.findall(content):
                yield _run(line, expected, folder, python)


def _with_files(content: str) -> str:
    """A block's text, with the files that it includes from the repository in the place of their names."""
    return re.sub(
        r'^--8<-- "([^"]+)"$', lambda found: (ROOT / found[1]).read_text().rstrip(), content, flags=re.MULTILINE
    )


def _run(line: str, expected: str, folder: Path, python: str) -> Command:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    here = {"PYTHONPATH": path, "COLUMNS": "100", "PYTHON": python, "PYTHONWARNINGS": "ignore"}
    programs = 'lth() { "$PYTHON" -m lth "$@"; }; python() { "$PYTHON" "$@"; }; set -o pipefail\n'
    done = subprocess.run(
        ["bash", "-c", programs + line],
        cwd=folder,
        env={**os.environ, **here},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Command(line, expected, _plain(done.stdout, folder), done.returncode)


def _plain(text: str, folder: Path) -> str:
    """Printed text without colours, the name of the temporary folder, and spaces at the ends of lines."""
    text = _COLOUR.sub("", text).replace(f"{folder.resolve()}/", "").replace(str(folder.resolve()), ".")
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines()) + "\n" if text.strip() else ""


def differences(expected: str, printed: str, within: float = 0.05) -> list[str]:
    """What tells two outputs apart: text and whole numbers must be equal, other numbers within `within` of each other.

    Times and digests are not compared, nor are spaces and the lines of tables.
    """
    texts = [_DIGEST.sub("DIGEST", _TIME.sub("TIME", text)) for text in (expected, printed)]
    words = [" ".join(re.sub(r"[━─┃│┏┓┗┛┡┩╇┳┻└┘┴┼╭╮╰╯]+", " ", _NUMBER.sub("#", text)).split()) for text in texts]
    if words[0] != words[1]:
        return [f"expected: {words[0]}", f"printed:  {words[1]}"]
    pairs = zip(*(_NUMBER.findall(text) for text in texts), strict=True)
    return [f"expected {old}, printed {new}" for old, new in pairs if not _near(old, new, within)]


def _near(old: str, new: str, within: float) -> bool:
    a, b = (float(text.replace(",", "")) for text in (old, new))
    whole = "." not in old and "e" not in old
    return a == b if whole else abs(a - b) <= within * max(1.0, abs(a))


def rewrite(page: Path, folder: Path, needs: str = "") -> str:
    """The page with the output that its commands print now."""
    text = page.read_text()
    for command in run(page, folder, needs):
        if command.code:
            sys.exit(f"{page}: {command.line} ends with exit code {command.code}:\n{command.printed}")
        old, new = (f"$ {command.line}\n{shown}" for shown in (command.expected, command.printed))
        assert text.count(old) >= 1, command.line
        text = text.replace(old, new, 1)
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--needs", default="", help="run the commands that need this program, and no others")
    given = parser.parse_args()
    for name in given.pages:
        with TemporaryDirectory() as temporary:
            rewritten = rewrite(name, Path(temporary), given.needs)
        name.write_text(rewritten)
