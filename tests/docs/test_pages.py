"""What the site's made pages say is complete, and the checker of the built site sees what is wrong."""

import re
from pathlib import Path

import pytest

from docs.pages import links, methods, recipes, reference

ROOT = Path(__file__).parents[2]


def test_every_method_stands_on_one_page():
    text = "\n".join(file.read_text() for file in (ROOT / "docs" / "methods").glob("*.md"))
    assert methods.unplaced(text) == []
    assert methods.unplaced(text.replace("<!-- methods: gmp agp -->", "<!-- methods: gmp gmp -->")) == ["agp", "gmp"]


def test_bars_and_angle_brackets_do_not_break_a_table():
    assert reference.cell("the largest |score|, <job>: `<rank>`") == r"the largest \|score\|, &lt;job>: `<rank>`"


@pytest.mark.parametrize("indent", ["", "  "])
def test_arguments_become_a_list(indent: str):
    pytest.importorskip("griffe", reason="griffe is not installed: make site installs it")
    from docs.pages import arguments

    lines = [f"{indent}a, b: of both", f"{indent}    and more: words", f"{indent}c: the last"]
    before = "Says it." if indent else "Says it.\n"
    listed = arguments.listed("\n".join([before, *lines, "Raises ValueError for others."]))
    items = ["- `a, b`: of both", f"{indent}    and more: words", "- `c`: the last"]
    assert listed == "\n".join(["Says it.", "", *items, "", "Raises ValueError for others."])


def test_every_folder_of_recipes_has_a_title():
    assert set(recipes.TITLES) == {path.name for path in recipes.CONF.iterdir() if path.is_dir()}


def test_the_readme_is_short_and_links_to_files_that_exist():
    text = (ROOT / "README.md").read_text()
    named = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert len(text.splitlines()) <= 110
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_no_page_cites_what_a_reader_cannot_open():
    pages = sorted((ROOT / "docs").rglob("*.md"))
    assert [page.name for page in pages if re.search(r"\b(?:the|this) specification\b", page.read_text())] == []


def test_every_page_has_a_title_and_says_first_what_it_is_for():
    texts = {page.name: page.read_text() for page in (ROOT / "docs").rglob("*.md")}
    assert [name for name, text in texts.items() if not re.match(r"# .+\n\n[`*]*\w", text)] == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('<a href="there.html">', "dead link there.html"),
        ('<a href="other.html#part">', "dead link other.html#part"),
        ('<a href="#part">', "dead link #part"),
        ('<script src="https://elsewhere.org/x.js"></script>', "loads https://elsewhere.org/x.js from elsewhere"),
        ('<img src="lost.png">', "dead link lost.png"),
    ],
)
def test_the_checker_of_the_site_names_dead_links_and_what_comes_from_elsewhere(line, fault, tmp_path):
    (tmp_path / "index.html").write_text('<a id="top" href="other.html#top">x</a><a href="https://arxiv.org">y</a>')
    (tmp_path / "other.html").write_text('<h1 id="top">z</h1>')
    assert list(links.faults(tmp_path)) == []
    (tmp_path / "index.html").write_text(line)
    assert list(links.faults(tmp_path)) == [f"index.html: {fault}"]


@pytest.mark.slow
def test_the_pictures_are_those_that_the_code_draws():
    import matplotlib

    from docs.pages import pictures

    for name, draw in pictures.PICTURES.items():
        stored = (pictures.FOLDER / name).read_text()
        if f"Matplotlib v{matplotlib.__version__}," not in stored:
            pytest.skip("drawn by another version of matplotlib, whose SVG differs")
        assert stored == pictures.svg_text(draw()), "run: python -m docs.pages.pictures"
