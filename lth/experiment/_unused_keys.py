"""Refuses keys that the user set and that no stage of the run reads.

A stage of a method reads its module, callbacks, network and recipe, and what these point to by interpolation. A recipe
field that the stage sets itself hides the field of `recipe`. Of the rest, the keys `_ALWAYS` are read
by every run, and other keys only if a key that is read refers to them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from lth.experiment._given_keys import Given, given, load
from lth.training.recipe import LENGTHS

_ALWAYS: tuple[str, ...] = (
    "dataset",
    "model",
    "sparsity",
    "support",
    "prunable",
    "trainer",
    "logger",
    "choices",
    "published",
)
_ALWAYS += ("seed", "seeds.init", "allow_dead", "compile", "compute", "channels_last", "threads", "checkpoint_seconds")
_ALWAYS += ("folder", "overwrite", "keep", "method.plan")
_REFERENCE = re.compile(r"\$\{\s*([^${}:,\s]+)\s*\}")


def check_used(config: DictConfig, stages: Iterable[str]) -> list[str]:
    """Refuse keys of the command line, and of an experiment that runs as its file says, that no stage reads.

    config: the composed configuration
    stages: names of the stages of the run's levels

    Returns a sentence for each such key of an experiment whose method or recipe the command line changes. Raises
    ValueError for the first other one, naming the key that would act. An override that begins with `++` is not checked.
    """
    keys = given()
    changed = any(not key.experiment and key.path.partition(".")[0] in ("method", "recipe") for key in keys)
    notes = []
    for key, sentence in unused(config, stages, keys):
        if not (changed and key.experiment):
            raise ValueError(sentence)
        notes.append(sentence)
    return notes


def unused(config: DictConfig, stages: Iterable[str], keys: Iterable[Given]) -> list[tuple[Given, str]]:
    """The `keys` that a run of the given stages does not read, each with a sentence naming the key that would act."""
    raw = _Configuration(config)
    stages = list(dict.fromkeys(stages))
    read = raw.read([*_ALWAYS, *(key for stage in stages for key in raw.of_stage(stage))])
    return [(key, _sentence(raw, key, stages)) for key in keys if not _touched(key.path, read)]


class _Configuration:
    """A composed configuration with its interpolations."""

    def __init__(self, config: DictConfig):
        self.content: Any = OmegaConf.to_container(config, resolve=False)
        self.needs: dict[str, str] = {}  # key without effect -> the key with which it would act

    def read(self, keys: Iterable[str]) -> set[str]:
        """`keys` and all keys that they refer to, directly or indirectly. A key stands for all keys below it."""
        todo, found = list(keys), set[str]()
        while todo:
            key = todo.pop()
            if key not in found:
                found.add(key)
                way, place = self._way(key)
                found |= set(way)
                todo += self._references_in(place, way[-1] if way else key)
        return found

    def _references_in(self, node: Any, key: str) -> Iterator[str]:
        """The keys that the part of the configuration at `key` refers to, except by arguments without effect."""
        if isinstance(node, str):
            yield from _references(node, key)
        elif isinstance(node, list):
            for inner in node:
                yield from self._references_in(inner, key)
        elif isinstance(node, Mapping):
            idle = self.without_effect(key, node.get("_target_"))
            for name in node:
                if name not in idle:
                    yield from self._references_in(node[name], f"{key}.{name}")

    def without_effect(self, key: str, target: str | None) -> list[str]:
        """The arguments of the part at `key` that act only with another one, which is null or false.

        target: `_target_` of the part; its attribute `acts_with` maps such an argument to the other one
        """
        needs = getattr(get_object(target), "acts_with", {}) if isinstance(target, str) else {}
        idle = {name: other for name, other in needs.items() if _off(self.value(f"{key}.{other}"))}
        self.needs |= {self._source(f"{key}.{name}"): self._source(f"{key}.{other}") for name, other in idle.items()}
        return list(idle)

    def _source(self, key: str) -> str:
        """The key whose value `key` has."""
        return next(reversed(self._way(key)[0]), key)

    def of_stage(self, stage: str) -> Iterator[str]:
        """The keys that a stage reads: its own, and the fields of `recipe` that it neither sets nor ignores."""
        yield f"method.stages.{stage}"
        hidden = self.hidden(stage)
        yield from (f"recipe.{field}" for field in self.content["recipe"] if field not in hidden)

    def hidden(self, stage: str) -> dict[str, str]:
        """The fields of `recipe` that a stage does not read -> the key that it reads instead, empty where none."""
        module = self.value(f"method.stages.{stage}.module") or {}
        ignored = [*getattr(get_object(module["_target_"]), "ignores", ())] if module else []
        ignored += self.without_effect("recipe", self.content["recipe"].get("_target_"))
        where = f"method.stages.{stage}.recipe"
        place = self._source(where)
        own = {f: f"{place}.{f}" for f in self.value(where) or {} if self.value(f"{place}.{f}") is not None}
        lengths = [field for field in LENGTHS if field in own]
        return {**dict.fromkeys(ignored, ""), **{field: own[lengths[0]] for field in LENGTHS if lengths}, **own}

    def value(self, key: str) -> Any:
        """The value at `key`, with interpolations followed; None if there is none."""
        return self._way(key)[1]

    def _way(self, key: str) -> tuple[list[str], Any]:
        """Follow `key` through interpolations: the full keys that they lead to, in order, and the value at the end."""
        way: list[str] = []
        parts, at, node = key.split("."), list[str](), self.content
        while True:
            whole = _REFERENCE.fullmatch(node) if isinstance(node, str) else None
            if whole:
                (target,) = _references(node, ".".join(at))
                way.append(".".join([target, *parts]))
                parts, at, node = way[-1].split("."), [], self.content
            elif not parts:
                return way, node
            elif not isinstance(node, Mapping) or parts[0] not in node:
                return way, None
            else:
                at.append(parts[0])
                node = node[parts.pop(0)]


def _off(value: Any) -> bool:
    return value is None or value is False


def _references(text: str, key: str) -> list[str]:
    """The keys that a text at `key` points to."""
    above, found = key.split("."), []
    for reference in _REFERENCE.findall(text):
        plain = reference.lstrip(".")
        levels = len(reference) - len(plain)  # dots in front: relative to the part that holds the text
        found.append(".".join([*above[:-levels], plain]) if levels else plain)
    return found


def _touched(key: str, read: Iterable[str]) -> bool:
    """Whether `key`, a key above it or a key below it is read."""
    return any(f"{key}.".startswith(f"{other}.") or other.startswith(f"{key}.") for other in read)


def _sentence(raw: _Configuration, key: Given, stages: list[str]) -> str:
    by = f" (experiment {key.experiment})" if key.experiment else ""
    begin = f"{key.written}{by} acts in no stage of this run ({', '.join(stages)})"
    top, _, rest = key.path.partition(".")
    if key.path in raw.needs:
        return f"{begin}: it acts with {raw.needs[key.path]}, which is not set"
    if top == "recipe":
        field, _, inner = rest.partition(".")
        taken = {stage: raw.hidden(stage).get(field, "") for stage in stages}
        instead = sorted({_instead(key, name, inner) for name in taken.values() if name})
        if instead:
            return f"{begin}, whose own value hides it: set {' or '.join(instead)}"
        return f"{begin}: {raw.value(f'method.stages.{stages[0]}.module')['_target_']} has no use for recipe.{field}"
    absent = [stage for stage in raw.value("method.stages") if stage not in stages]
    others = [stage for stage in absent if _touched(key.path, raw.read(raw.of_stage(stage)))]
    if others:
        return f"{begin}: it acts in the stage {' or '.join(others)}{_switch(raw, others)}"
    options = [] if top == "method" else _options_with(key.path)
    return f"{begin}: nothing points to it" + (f"; it acts with {', '.join(options)}" if options else "")


def _instead(key: Given, name: str, inner: str) -> str:
    """What to write in place of `key`, where a stage reads `name`."""
    group, _, option = key.written.partition("=")
    if "/" in group:
        return f"{group}@{name}={option}"
    return ".".join(filter(None, (name, inner)))


def _switch(raw: _Configuration, stages: list[str]) -> str:
    """Which key brings one of `stages` into the run: the plan's argument of that name."""
    texts = {stage: (raw.value("method.plan") or {}).get(stage) for stage in stages}
    keys = [reference for text in texts.values() if isinstance(text, str) for reference in _references(text, "")]
    return f", which this run does not have: set {' or '.join(keys)}" if keys else ", which this run does not have"


def _options_with(key: str) -> list[str]:
    """Options of method, of its parts and of support whose files point to `key` or to a part that contains it."""
    if not GlobalHydra.instance().is_initialized():
        return []
    loader = GlobalHydra.instance().config_loader()
    parts = key.split(".")
    names = "|".join(re.escape(".".join(parts[: count + 1])) for count in range(len(parts)))
    groups = ["method", "support", *(f"method/{group}" for group in loader.list_groups("method"))]
    options = [(group, name) for group in groups for name in loader.get_group_options(group) if name[0] != "_"]
    return [f"{g}={name}" for g, name in options if re.search(rf"\$\{{({names})}}", str(load(f"{g}/{name}")))]
