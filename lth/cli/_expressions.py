"""The language of the tables of valid values: an expression such as `int >= 1 or null`, and what it accepts.

    null  bool  text  path  folder  any
    mapping                 a mapping whose keys have lines of their own
    any mapping             a mapping whose keys are the user's own and are not checked
    part                    a mapping with a _target_
    int, number             also `int >= 1`, `number > 0`, `number in (0, 1]`; finite, not true or false
    point                   0, "500it", "2ep", "5%"
    percent                 "5%"
    one of a, b, c          also true, false and whole numbers
    list of X, filled list of X (not empty), pair of X, rising list of X (strictly increasing), map of X (X: its values)
    left out                never valid: lth sets the key
    X or Y

`cores` in a bound is the number of CPU cores: `int in [1, 4 * cores]`.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

_LARGEST_INT = 2**63 - 1
_LONGEST_NAME, _LONGEST_PATH = 255, 3000  # bytes; a run's own files lie below its folder
_LONGEST_SHOWN = 80  # characters of a value in a message
_POINT = re.compile(r"[0-9]{1,18}(it|ep)?|[0-9]{1,3}(\.[0-9]+)?%")
_RANGE = re.compile(r"(?P<sign>>=|>) (?P<one>\S+)|in (?P<left>[\[(])(?P<low>[^,]+), (?P<high>[^\])]+)(?P<right>[\])])")


@dataclass(frozen=True)
class Valid:
    """What a value may be.

    says: description for messages
    accepts: function from a value to whether it is valid
    free: True if the content of a mapping is the user's own and is not checked
    """

    says: str
    accepts: Callable[[Any], bool]
    free: bool = False


def parse(expression: str) -> Valid:
    """The valid values that an expression describes. Raises ValueError for an expression outside this language."""
    alternatives = [_alternative(text.strip()) for text in expression.split(" or ")]
    says = [alternative.says for alternative in alternatives]
    joined = says[0] if len(says) == 1 else ", ".join(says[:-1]) + (", or " if " " in says[-2] else " or ") + says[-1]
    free = any(alternative.free for alternative in alternatives)
    return Valid(joined, lambda value: any(alternative.accepts(value) for alternative in alternatives), free)


def shown(value: Any) -> str:
    """A value as it is written on a command line, cut to 80 characters."""
    if isinstance(value, str):
        text = value if _is_plain(value) and value not in ("true", "false") else repr(value)
    elif isinstance(value, dict):
        text = "{" + ", ".join(f"{key}: {shown(inner)}" for key, inner in value.items()) + "}"
    elif isinstance(value, list):
        text = "[" + ", ".join(map(shown, value)) + "]"
    else:
        words = [text for word, text in ((None, "null"), (True, "true"), (False, "false")) if value is word]
        text = words[0] if words else str(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def _is_plain(text: str) -> bool:
    """Whether YAML reads a text as a word, so that it needs no quotes."""
    if not re.fullmatch(r"(?![*&!|>%@`#])[^\s'\"{}\[\]]+", text):
        return False
    try:
        return isinstance(yaml.safe_load(f"- {text}")[0], str | bool)
    except yaml.YAMLError:
        return False


def _alternative(text: str) -> Valid:
    many = re.fullmatch(r"(list|filled list|rising list|pair|map) of (.+)", text)
    if many:
        return _MANY[many[1]](_alternative(many[2]))
    number = re.fullmatch(r"(int|number)(?: (.+))?", text)
    if number:
        return _number(number[1], number[2] or "")
    if text.startswith("one of "):
        return _one_of([_word(word) for word in text.removeprefix("one of ").split(", ")])
    if text not in _WORDS:
        raise ValueError(f"the expression {text!r} is not in the language of the tables: {', '.join(_WORDS)}, ...")
    return _WORDS[text]


def _number(kind: str, limits: str) -> Valid:
    found = _RANGE.fullmatch(limits)
    if limits and not found:
        raise ValueError(f"{limits!r} is not a range such as >= 0, > 0, in [0, 1) or in (0, 1]")
    low, high, says = float("-inf"), float("inf"), ""
    open_low = open_high = False
    if found and found["sign"]:
        low, open_low = _bound(found["one"]), found["sign"] == ">"
        says = f" over {low:g}" if open_low else f" of {low:g} or more"
    elif found:
        low, high = _bound(found["low"]), _bound(found["high"])
        open_low, open_high = found["left"] == "(", found["right"] == ")"
        least = f"over {low:g}" if open_low else f"at least {low:g}"
        most = f"under {high:.15g}" if open_high else f"at most {high:.15g}"
        says = f" {least} and {most}"

    def accepts(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if kind == "int" else int | float):
            return False
        if abs(value) > _LARGEST_INT if isinstance(value, int) else not isfinite(value):
            return False
        return (low < value if open_low else low <= value) and (value < high if open_high else value <= high)

    return Valid(f"a {'whole number' if kind == 'int' else 'number'}{says}", accepts)


def _bound(text: str) -> float:
    number, _, cores = text.partition(" * ")
    return float(number) * ((os.cpu_count() or 1) if cores == "cores" else 1)


def _word(text: str) -> Any:
    """A word of `one of`: true, false and whole numbers are not text."""
    if text in ("true", "false"):
        return text == "true"
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else text


def _one_of(words: Sequence[Any]) -> Valid:
    listed = ", ".join(map(shown, words))
    return Valid(
        f"one of {listed}" if len(words) > 1 else listed,
        lambda value: any(type(value) is type(word) and value == word for word in words),
    )


def _list_of(valid: Valid) -> Valid:
    return Valid(f"a list, each {valid.says}", lambda v: isinstance(v, list) and all(map(valid.accepts, v)))


def _filled(valid: Valid) -> Valid:
    return Valid(f"a list of one or more, each {valid.says}", lambda v: _list_of(valid).accepts(v) and len(v) > 0)


def _rising(valid: Valid) -> Valid:
    def accepts(value: Any) -> bool:
        return _list_of(valid).accepts(value) and all(a < b for a, b in pairwise(value))

    return Valid(f"a strictly increasing list, each {valid.says}", accepts)


def _pair(valid: Valid) -> Valid:
    return Valid(f"a list of two, each {valid.says}", lambda v: _list_of(valid).accepts(v) and len(v) == 2)


def _map(valid: Valid) -> Valid:
    return Valid(
        f"a mapping, each value {valid.says}",
        lambda v: isinstance(v, dict) and all(map(valid.accepts, v.values())),
        free=True,
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def _is_path(value: Any) -> bool:
    return _is_text(value) and len(os.fsencode(value)) <= _LONGEST_PATH


def _is_point(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return 0 <= value <= _LARGEST_INT
    return isinstance(value, str) and bool(_POINT.fullmatch(value))


def _can_be_a_folder(value: Any) -> bool:
    """Whether a run's files may be written at a path: it is a folder, or can be made as one."""
    if not _is_path(value):
        return False
    try:
        path = Path(value).resolve()
        above = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
        names = max(len(os.fsencode(name)) for name in path.parts)
        long = names > _LONGEST_NAME or len(os.fsencode(path)) > _LONGEST_PATH
        return path != path.parent and above.is_dir() and not long
    except (OSError, RuntimeError, ValueError):
        return False


_FREE = Valid("any value", lambda value: True, free=True)
_MAPPING = Valid("a mapping", lambda value: isinstance(value, dict))
_WORDS = {
    "null": Valid("null", lambda value: value is None),
    "bool": Valid("true or false", lambda value: isinstance(value, bool)),
    "text": Valid("text", _is_text),
    "path": Valid("a path", _is_path),
    "folder": Valid(
        "a folder, or a path where one can be made (not /, no file, not below a file, names of at most 255 bytes)",
        _can_be_a_folder,
    ),
    "point": Valid('a point of the training such as 0, "500it", "2ep" or "5%"', _is_point),
    "mapping": _MAPPING,
    "percent": Valid('percent such as "5%"', lambda value: _is_point(value) and str(value).endswith("%")),
    "part": Valid(
        "a mapping with a _target_", lambda value: isinstance(value, dict) and _is_text(value.get("_target_"))
    ),
    "any mapping": Valid("a mapping", lambda value: isinstance(value, dict), free=True),
    "any": _FREE,
    "left out": Valid("left out, because lth sets it", lambda value: False),
}
_MANY = {"list": _list_of, "filled list": _filled, "rising list": _rising, "pair": _pair, "map": _map}
