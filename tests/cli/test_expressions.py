"""The language of the tables of valid values, and how values are shown in messages."""

import math
from pathlib import Path
from typing import Any

import pytest

from lth.cli._expressions import parse, shown


@pytest.mark.parametrize(
    ("expression", "right", "wrong"),
    [
        ("int >= 1", [1, 7], [0, 1.0, True, "1", 2**63, None]),
        ("int in [1, 4]", [1, 4], [0, 5]),
        ("int in [1, 4 * cores]", [1, 4], [0, 10**6]),
        ("number > 0", [1, 0.5], [0, math.nan, math.inf, True, "1", -1]),
        ("number in (0, 1]", [1, 0.1], [0, 1.1, -0.0]),
        ("number in [0, 1)", [0, 0.9], [1, 1.0]),
        ("bool", [True, False], ["no", "off", "none", 0, 1, None]),
        ("one of a, false, 2", ["a", False, 2], ["b", 0, True, "false", 2.0]),
        ("text", ["a"], ["", " ", "a\nb", 1, None]),
        ("point", [0, 500, "500it", "2ep", "5%", "68.75%"], [-1, 0.5, True, "ep", "-1%", None]),
        ("list of number in (0, 1]", [[], [0.5, 1]], [0.5, [2], [True], "no", None]),
        ("filled list of text", [["a"], ["a", "b"]], [[], "a", [1], None]),
        ("pair of number > 0", [[1, 2]], [[1], [1, 2, 3], 1]),
        ("rising list of number > 0", [[], [1], [0.5, 0.75]], [[2, 1], [1, 1], [-1], [math.nan], 0.5]),
        ("map of number", [{}, {"a": 1}], [{"a": "b"}, [1], 1]),
        ("int >= 1 or null", [1, None], [0, "null"]),
        ("text or part", ["l1", {"_target_": "mine.rank"}], [{"a": 1}, {"_target_": 1}, 1]),
        ("left out", [], [None, 0]),
        ("any", [None, "a", []], []),
    ],
)
def test_the_language_of_the_tables(expression: str, right: list[Any], wrong: list[Any]):
    valid = parse(expression)
    assert [value for value in right if not valid.accepts(value)] == []
    assert [value for value in wrong if valid.accepts(value)] == []


@pytest.mark.parametrize("expression", ["integer", "int > ", "number in 0, 1", "list of", "int >= 1 or", ""])
def test_what_is_not_of_the_language_is_refused(expression: str):
    with pytest.raises(ValueError, match=r"not in the language|is not a range"):
        parse(expression)


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 256, "/dev/null", "/dev/null/run", "/", "", " ", "a\0b"])
def test_paths_that_cannot_be_a_folder_of_a_run_are_refused(name: str, tmp_path: Path):
    (tmp_path / "file").touch()
    path = name if name in ("", " ") or name[0] == "/" else str(tmp_path / name)
    assert not parse("folder").accepts(path)


def test_a_folder_need_not_exist_and_may_be_a_link(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path)
    for path in ("runs/new", str(tmp_path), str(tmp_path / "a" / "b"), str(tmp_path / "link" / "a")):
        assert parse("folder").accepts(path)


@pytest.mark.parametrize("value", ["@head", "@", "*", "&a", "%", "`x`", "!x", "|", "a: b", "- a", "#", ""])
def test_any_text_can_be_shown_in_a_message(value: str):
    assert shown(value) == repr(value)
