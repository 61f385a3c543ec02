"""Reading YAML that anybody may have written."""

from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the loader of libyaml is ten times as fast
_DEEPEST = 100  # collections in collections


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
