"""Pages of the published recipes, one a paper, from `conf/experiment` and the table in docs/recipes.md."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from docs.recipes import block

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf" / "experiment"
_ROW = re.compile(r"\| ([^|]+) \| \[`([^`]+)`\][^|]*\| (.*) \|")
TITLES = {
    "cyclic_training": "Cyclic sparse training (arXiv 2406.02773)",
    "distiller": "Distiller (IntelLabs/distiller)",
    "er_lottery": "Random pruning to start sparse (arXiv 2210.02412)",
    "granet": "GraNet (arXiv 2106.10404)",
    "grasp": "GraSP (arXiv 2002.07376)",
    "hidden_networks": "Hidden networks, edge-popup (arXiv 1911.13299)",
    "itop": "In-time over-parameterisation (arXiv 2102.02887)",
    "own": "Measurements of this project",
    "random_pruning": "Random pruning (arXiv 2202.02643)",
    "rare_gems": "Rare Gems (arXiv 2202.12002)",
    "rigl": "RigL (arXiv 1911.11134)",
    "sanity_checks": "Sanity checks of lottery tickets (arXiv 2107.00166)",
    "sculpting": "SCULPT-ing (arXiv 2406.02773)",
    "set": "SET (arXiv 1707.04780)",
    "snip": "SNIP (arXiv 1810.02340)",
    "str": "STR (arXiv 2002.03231)",
    "synflow": "SynFlow (arXiv 2006.05467)",
    "turboprune": "TurboPrune (arXiv 2406.02773)",
}


@cache
def pages() -> dict[str, str]:
    """Every page: address -> Markdown. A folder of `conf/experiment` without a title is an error."""
    papers = sorted(path.name for path in CONF.iterdir() if path.is_dir())
    return {f"recipes/{paper}.md": "\n".join(_page(paper)) + "\n" for paper in papers}


def _page(paper: str) -> Iterator[str]:
    files = sorted((CONF / paper).glob("[!_]*.yaml"))
    yield f"# {TITLES[paper]}"
    yield ""
    yield f"The {len(files)} recipes in `conf/experiment/{paper}`, one command each; expected numbers are quoted."
    yield ""
    yield "[All recipes in one table](../recipes.md) explains *confidence*, multiply-adds and hours."
    yield ""
    for file in files:
        yield from _recipe(paper, file)


def _recipe(paper: str, file: Path) -> Iterator[str]:
    name = f"{paper}/{file.stem}"
    yield from (f"## {file.stem} {{#{file.stem}}}", "", _comment(file), "")
    yield from ("```", f"lth run experiment={name}", "```", "")
    if row := _rows().get(name):
        head = "method", "network", "dataset", "density", "expected", "confidence", "multiply-adds", "hours"
        yield from (f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", f"| {row} |", "")
    yield from (f"* Differs: {said}" for said in block(name).get("differs", {}).values())
    yield from ("", f'??? note "conf/experiment/{name}.yaml"', "    ```yaml")
    yield from (f"    {line}".rstrip() for line in file.read_text().splitlines())
    yield from ("    ```", "")


def _comment(file: Path) -> str:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("# @package")]
    said = []
    for line in lines:
        if not line.startswith("#"):
            break
        said.append(line.lstrip("# "))
    return " ".join(said).replace("<", "&lt;").replace("*", r"\*").replace("_", r"\_")


@cache
def _rows() -> dict[str, str]:
    """The table of docs/recipes.md: name of an experiment -> the cells of its row."""
    found = map(_ROW.fullmatch, (ROOT / "docs" / "recipes.md").read_text().splitlines())
    return {match[2]: match[3] for match in found if match}
