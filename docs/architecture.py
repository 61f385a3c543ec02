"""Draws docs/architecture.svg, the rooms of `lth/` and who imports whom: `python -m docs.architecture`.

Everything in the picture is read from the sources: a box is a folder of `lth/`, its text the first words of the
folder's docstring, an arrow an import. Arrows that follow from others are left out.
"""

import ast
from pathlib import Path
from textwrap import wrap
from xml.etree import ElementTree as xml

ROOT = Path(__file__).parent.parent
PICTURE = Path(__file__).with_suffix(".svg")
BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN, LANE = 204, 78, 22, 44, 16, 4  # pixels
COLOURS = ("#eef3f8", "#e3edf6", "#d6e5f3", "#c8dcef", "#bbd3ea", "#aecae6", "#a0c1e1", "#93b8dc")  # by rank


def imports() -> dict[str, set[str]]:
    """Room -> the rooms that its files import, at module level or inside functions."""
    rooms = {path.parent.name for path in (ROOT / "lth").glob("*/__init__.py")}
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for room in rooms:
        for path in (ROOT / "lth" / room).rglob("*.py"):
            if path.parent.name == room and path.name == "__main__.py":
                continue  # `python -m lth.report` hands over to the command line
            for node in ast.walk(ast.parse(path.read_text())):
                module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
                if module.startswith("lth."):
                    found[room].add(module.split(".")[1])
        found[room] &= rooms - {room}
    return found


def rank(room: str, arrows: dict[str, set[str]]) -> int:
    """The row of a room, counted from the bottom: one above the highest room that it imports."""
    return max((rank(other, arrows) + 1 for other in arrows[room]), default=0)


def without_shortcuts(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows that do not follow from others: A -> C is left out where A -> B and B leads to C."""

    def reached(room: str) -> set[str]:
        return arrows[room].union(*(reached(other) for other in arrows[room]))

    return {
        room: {other for other in others if not any(other in reached(via) for via in others - {other})}
        for room, others in arrows.items()
    }


def lay_out(arrows: dict[str, set[str]]) -> tuple[list[list[str]], list[tuple[str, str]]]:
    """Rows from the bottom, and the lines between neighbouring rows.

    An arrow that skips rows passes each of them through a lane of its own, an entry named `room@row`; arrows to one
    room share their lanes. The order within a row keeps lines short: entries follow the mean place of what they join.
    """
    ranks = {room: rank(room, arrows) for room in arrows}
    rows = [sorted(room for room in arrows if ranks[room] == row) for row in range(max(ranks.values()) + 1)]
    lines: set[tuple[str, str]] = set()
    for room, others in sorted(without_shortcuts(arrows).items()):
        for other in sorted(others):
            lanes = [f"{other}@{row}" for row in range(ranks[room] - 1, ranks[other], -1)]
            lines |= set(zip([room, *lanes], [*lanes, other], strict=True))
            for lane in lanes:
                row = rows[int(lane.partition("@")[2])]
                row += [lane] if lane not in row else []
    ordered = sorted(lines)
    for _ in range(20):
        for row in rows:
            places = {entry: (place + 0.5) / len(other) for other in rows for place, entry in enumerate(other)}
            joined = {entry: [places[b if a == entry else a] for a, b in ordered if entry in (a, b)] for entry in row}
            row.sort(key=lambda entry: (sum(joined[entry]) / max(1, len(joined[entry])), entry))
    return rows, ordered


def draw() -> str:
    """The picture as SVG text: the same text for the same imports and docstrings."""
    arrows = imports()
    rows, lines = lay_out(arrows)
    wide = {entry: LANE if "@" in entry else BOX_WIDTH for row in rows for entry in row}
    width = max(sum(wide[entry] + GAP_X for entry in row) for row in rows) - GAP_X + 2 * MARGIN
    height = len(rows) * (BOX_HEIGHT + GAP_Y) - GAP_Y + 2 * MARGIN
    picture = xml.Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}", role="img")
    xml.SubElement(picture, "title").text = "The rooms of lth/ and their imports, drawn from the sources"
    style = "text{font-family:sans-serif;fill:#1b2733} .name{font-weight:bold;font-size:15px} .what{font-size:10.5px}"
    xml.SubElement(picture, "style").text = style
    xml.SubElement(picture, "rect", width=str(width), height=str(height), fill="#ffffff")
    middles = {}
    for row, entries in enumerate(rows):
        left = (width - sum(wide[entry] + GAP_X for entry in entries) + GAP_X) / 2
        for entry in entries:
            middles[entry] = left + wide[entry] / 2, height - MARGIN - BOX_HEIGHT - row * (BOX_HEIGHT + GAP_Y)
            left += wide[entry] + GAP_X
    for start, end in lines:
        _line(picture, middles[start], middles[end], "@" in end)
    for entry, (x, y) in sorted(middles.items()):
        if "@" not in entry:
            _box(picture, entry, (x - BOX_WIDTH / 2, y), COLOURS[rank(entry, arrows) % len(COLOURS)])
    xml.indent(picture)
    return xml.tostring(picture, encoding="unicode") + "\n"


def _line(picture: xml.Element, start: tuple[float, float], end: tuple[float, float], lane: bool) -> None:
    """From the bottom of one entry to the top of another; an arrow's head at a box, straight through a lane."""
    (x1, y1), (x2, y2) = start, end
    y1, middle = y1 + BOX_HEIGHT, (y1 + BOX_HEIGHT + y2) / 2
    through = f" V{y2 + BOX_HEIGHT:g}" if lane else ""
    curve = f"M{x1:g} {y1:g} C{x1:g} {middle:g} {x2:g} {middle:g} {x2:g} {y2:g}{through}"
    xml.SubElement(picture, "path", d=curve, fill="none", stroke="#5b7083")
    if not lane:
        head = f"M{x2 - 4:g} {y2 - 7:g} L{x2 + 4:g} {y2 - 7:g} L{x2:g} {y2:g} Z"
        xml.SubElement(picture, "path", d=head, fill="#5b7083")


def _box(picture: xml.Element, room: str, place: tuple[float, float], colour: str) -> None:
    x, y = place
    size = {"width": str(BOX_WIDTH), "height": str(BOX_HEIGHT), "rx": "6"}
    xml.SubElement(picture, "rect", x=f"{x:g}", y=f"{y:g}", fill=colour, stroke="#5b7083", **size)
    middle = f"{x + BOX_WIDTH / 2:g}"
    anchor = {"text-anchor": "middle"}
    xml.SubElement(picture, "text", {"x": middle, "y": f"{y + 20:g}", "class": "name", **anchor}).text = room
    doc = ast.get_docstring(ast.parse((ROOT / "lth" / room / "__init__.py").read_text())) or ""
    for number, line in enumerate(wrap(doc.splitlines()[0].rstrip("."), 34)[:3]):
        where = {"x": middle, "y": f"{y + 37 + 14 * number:g}", "class": "what"}
        xml.SubElement(picture, "text", {**where, **anchor}).text = line


if __name__ == "__main__":
    PICTURE.write_text(draw())
