"""Griffe extension: lines `name: meaning` of a docstring become a list in the Python reference."""

import re
from typing import Any

from griffe import Extension, Object

_ARGUMENT = re.compile(r"(?:  )?([A-Za-z_]\w*(?:, [A-Za-z_]\w*)*): (.*)")


class Arguments(Extension):
    """Rewrites the docstrings of functions and classes; nothing else changes."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """obj: a module, class, function or attribute that was read from the sources"""
        if obj.docstring and (obj.is_function or obj.is_class):
            obj.docstring.value = listed(obj.docstring.value)


def listed(docstring: str) -> str:
    """Replace lines `name: meaning` of a docstring by a Markdown list.

    Such lines begin at the left margin after an empty line, or are indented by two spaces. A line with a larger indent
    continues the item before it.
    """
    lines, in_list = [""], False
    for line in docstring.splitlines():
        found = _ARGUMENT.fullmatch(line)
        if found and (in_list or lines[-1] == "" or line.startswith(" ")):
            if not in_list and lines[-1]:
                lines.append("")
            lines.append(f"- `{found[1]}`: {found[2]}")
            in_list = True
        elif in_list and line.startswith("    "):
            lines.append(line)
        else:
            lines += ["", line] if in_list and line else [line]
            in_list = False
    return "\n".join(lines[1:])
