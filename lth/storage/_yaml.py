"""Reads YAML files of any origin without a crash."""

import re
from functools import lru_cache
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the loader of libyaml is ten times as fast
_DEEPEST = 100  # levels of nested collections
_COMMENT = re.compile(rb"^#.*\n?", re.M)
_KEY = re.compile(rb"^(?=[^\s#-])", re.M)  # where a key of the outermost mapping begins
_KEY_BELOW = re.compile(rb"^(?=  [^\s#-])", re.M)


def load_yaml(data: bytes) -> Any:
    """The content of a YAML file.

    Raises yaml.YAMLError, and ValueError where it is nested deeper than any configuration: libyaml's loader would
    recurse until the process crashes.
    """
    depth = 0
    for event in yaml.parse(data, _LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError("it is nested too deep")
    return yaml.load(data, _LOADER)


def load_cached(data: bytes) -> Any:
    """The content of a file that lth wrote, which the caller must not change: equal parts of files are one object.

    The mappings of the two outermost levels are parsed key by key, and a key whose text was seen before is not parsed
    again. Configurations of a sweep differ in few keys, so this is ten times as fast for many files. Errors are those
    of `load_yaml`.
    """
    try:
        found: dict[str, Any] = {}
        for part in _KEY.split(_COMMENT.sub(b"", data)):
            name, _, rest = part.partition(b":\n")
            below = _KEY_BELOW.split(rest) if rest.startswith(b"  ") else []
            if below[:1] == [b""] and len(below) > 2 and name.isalpha():
                found[name.decode()] = {key: value for text in below[1:] for key, value in _parsed(text).items()}
            else:
                found.update(_parsed(part))
    except (yaml.YAMLError, AttributeError, TypeError, ValueError):  # references between parts, or another layout
        return load_yaml(data)
    return found


@lru_cache(maxsize=4096)
def _parsed(text: bytes) -> Any:
    return load_yaml(text) if text.strip() else {}
