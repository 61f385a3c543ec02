"""Hooks of MkDocs: pages that are made when the site is built, links that leave docs/, formulas as MathML."""

import html
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

from docs.pages import methods, recipes, reference

ROOT = Path(__file__).parents[2]
OF_THE_ROOT = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
MADE_NAVIGATION = {"Recipes": recipes.pages, "Reference": reference.navigation}
SHOWN = (".py", ".yaml", ".toml")  # files outside docs/ that pages link to become pages of their own


def on_config(config: Any) -> Any:
    """Complete the navigation: made pages are added, pages whose file does not exist yet are left out."""
    for section in config.nav:
        for title, entries in section.items():
            if title in MADE_NAVIGATION:
                entries += [page for page in MADE_NAVIGATION[title]() if page not in entries]
    config.nav = _existing(config.nav)
    return config


def _existing(entries: list[Any]) -> list[Any]:
    """The entries without pages that are neither in docs/ nor made."""
    kept: list[Any] = []
    for entry in entries:
        if isinstance(entry, dict):
            kept += [{title: below if isinstance(below, str) else _existing(below)} for title, below in entry.items()]
        elif entry in _made() or (ROOT / "docs" / entry).is_file():
            kept.append(entry)
    return kept


@cache
def _made() -> dict[str, str]:
    """Every made page: address -> Markdown."""
    root = {page: (ROOT / file).read_text() for page, file in OF_THE_ROOT.items()}
    return {**root, **recipes.pages(), **reference.pages(), **dict(_sources())}


def _sources() -> Iterator[tuple[str, str]]:
    """Pages that show the files outside docs/ which pages link to."""
    for name in sorted(set(re.findall(r"\]\((?:\.\./)+((?:examples|conf|lth|tests)/[^)#]+)\)", _all_text()))):
        file = ROOT / name
        if file.suffix in SHOWN and not name.startswith("conf/experiment/"):
            language = "python" if file.suffix == ".py" else file.suffix[1:]
            yield (
                f"files/{name}.md",
                f"# {name}\n\nThe file as it is in the repository.\n\n```{language}\n{file.read_text()}```\n",
            )


def _all_text() -> str:
    return "\n".join(file.read_text() for file in sorted((ROOT / "docs").rglob("*.md")))


def on_files(files: Files, config: Any) -> Files:
    """Add the made pages."""
    for page, text in _made().items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Expand marks such as `<!-- methods: imp wr -->` and point links that leave docs/ to pages of the site."""
    up = "../" * page.file.src_uri.count("/")
    markdown = re.sub(r"<!-- (\w+): ([\w/ ]+) -->", _expanded, markdown)
    if page.file.src_uri in OF_THE_ROOT:
        markdown = re.sub(r"\]\((?:docs/)", "](", markdown)
    markdown = re.sub(r"\]\((?:\.\./)+conf/experiment/([\w.]+)/([\w.]+)\.yaml\)", rf"]({up}recipes/\1.md#\2)", markdown)
    return re.sub(
        r"\]\((?:\.\./)+((?:examples|conf|lth|tests)/[^)#]+\.(?:py|yaml|toml))\)", rf"]({up}files/\1.md)", markdown
    )


def _expanded(mark: re.Match[str]) -> str:
    kind, words = mark[1], mark[2].split()
    if kind == "methods":
        return methods.described(words)
    if kind == "leaderboard":
        return methods.ranked(words)
    if kind == "groups":
        return reference.linked_groups()
    return methods.options_of(words[0]) if kind == "options" else mark[0]


def on_page_content(content: str, **_: Any) -> str:
    """Turn formulas into MathML, which browsers draw without scripts."""
    content = re.sub(
        r'<div class="arithmatex">\\\[(.*?)\\\]</div>',
        lambda found: _formula(found[1], "block"),
        content,
        flags=re.DOTALL,
    )
    return re.sub(
        r'<span class="arithmatex">\\\((.*?)\\\)</span>',
        lambda found: _formula(found[1], "inline"),
        content,
        flags=re.DOTALL,
    )


def _formula(latex: str, display: str) -> str:
    return convert(html.unescape(latex.strip()), display=display)
