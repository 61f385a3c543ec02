"""Groups of runs that differ only in seed and density, and sections of one model and dataset."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lth.report.collect import UNREAD, Run
from lth.storage.flat import flattened
from lth.storage.folder import DENSITY, NOT_IDENTITY, SEED

_SEED_NAME = re.compile(r"seed\d+")
_DENSITY_NAME = re.compile(r"-\d+(\.\d+)?(e-?\d+)?(?=/)|(?<=_)\d?\.\d+(?=/)|(?<=level_)\d+(?=_)")
_LONGEST_NAME = 120  # characters of a folder's name, as in lth.cli.run
_HASH = re.compile(r"-[0-9a-f]{8}$")
_RECIPE_FIRST = ("recipe.lr", "recipe.epochs", "model.", "sparsity.", "method.", "support.", "recipe.")
_ALWAYS_SHOWN = ("recipe.", "recipe/", "treatment", "dataset.")  # in labels even if all groups of the method share them


@dataclass(frozen=True)
class Group:
    """Runs that differ in density and seed alone.

    method: name of the method
    sparsity: name of the option of the group `sparsity`
    overrides: other settings of the command line, `key=value`
    words: method, sparsity and `key=value` that distinguish the group; unique in its section
    runs: runs of every state
    """

    method: str
    sparsity: str
    overrides: tuple[str, ...]
    words: tuple[str, ...]
    runs: tuple[Run, ...]

    @property
    def label(self) -> str:
        """Its words: short, unique in its section."""
        return " ".join(self.words)

    @property
    def traits(self) -> dict[str, str]:
        """The words as name -> value: `method`, `sparsity`, and keys without their prefix."""
        named = {"method": self.method}
        for word in self.words[1:]:
            key, found, value = word.partition("=")
            name = key if found else "sparsity" if word == self.sparsity else "variant"
            named[name] = f"{named[name]} {value or key}" if name in named else value or key
        return named


@dataclass(frozen=True)
class Section:
    """The groups of one dataset and model.

    overrides: settings of the command line that all groups share
    """

    dataset: str
    model: str
    overrides: tuple[str, ...]
    groups: tuple[Group, ...]

    @property
    def title(self) -> str:
        """`model on dataset`."""
        return f"{self.model} on {self.dataset}"


def sections(runs: Iterable[Run]) -> list[Section]:
    """Sections and their groups, by name, with runs of every state but those whose config.yaml is unreadable."""
    by_section: dict[tuple[str, str], dict[str, list[Run]]] = {}
    for run in runs:
        if run.config is not UNREAD:
            key = run.choices["dataset"], run.choices["model"]
            by_section.setdefault(key, {}).setdefault(_identity(run), []).append(run)
    return [_section(*key, list(groups.values())) for key, groups in sorted(by_section.items())]


def _sparsity_of(group: Sequence[Run]) -> str:
    """The option of the group `sparsity`, from a run's folder or command line; else the name of the ladder's function.

    group: runs with the same settings
    """
    for run in group:
        if named := _folder_parts(run):
            return named[0]
        if isinstance(given := run.record.get("overrides"), list):
            chosen = [str(one).partition("=")[2] for one in given if str(one).startswith("sparsity=")]
            if chosen:
                return chosen[-1]
    return str(group[0].config["sparsity"].get("_target_", "")).rpartition(".")[2]


def _overrides_of(run: Run) -> tuple[str, ...]:
    """Settings of the command line besides method, model, dataset, sparsity and density, from the folder's name."""
    named = _folder_parts(run)
    if not named or not named[1]:
        return ()
    name, given = _HASH.sub("", named[1]), run.record.get("overrides")
    options = _split(name, given)
    if len(name) < _LONGEST_NAME:
        return tuple(options)
    return (*options[:-1], *_after(options[-1].partition("=")[0], given))  # the last setting was cut


def _after(key: str, given: Any) -> list[str]:
    """The settings of a command line whose keys sort at or after `key`, sorted; empty if none are recorded.

    given: the overrides
    """
    written = [str(one).lstrip("+~") for one in given] if isinstance(given, list) else []
    settings = dict(one.partition("=")[::2] for one in written)
    hidden = {"method", "model", "dataset", "sparsity", "sparsity.density", "seed"}
    return [
        f"{name}={value}"
        for name, value in sorted(settings.items())
        if name >= key and name not in hidden and not is_execution_key(name)
    ]


def _split(name: str, given: Any) -> list[str]:
    """The settings that the name of a folder holds. given: the overrides of its run, where they are recorded.

    The path of a ticket can contain settings of the ticket's run, which are not settings of this run.
    """
    pieces = re.split(r",(?=[\w.@+]+=)", name)
    if not isinstance(given, list):
        return pieces
    keys, options = {str(one).lstrip("+~").partition("=")[0] for one in given}, pieces[:1]
    for piece in pieces[1:]:
        if piece.partition("=")[0] in keys:
            options.append(piece)
        else:
            options[-1] += f",{piece}"
    return options


def _section(dataset: str, model: str, groups: Sequence[Sequence[Run]]) -> Section:
    given = [_overrides_of(group[0]) for group in groups]
    shared = tuple(option for option in given[0] if all(option in options for options in given))
    labels = _labels(groups, [[o for o in options if o not in shared] for options in given])
    made = [
        Group(group[0].choices["method"], _sparsity_of(group), options, words, tuple(group))
        for group, options, words in zip(groups, given, labels, strict=True)
    ]
    return Section(dataset, model, shared, tuple(sorted(made, key=lambda group: group.label)))


def _labels(groups: Sequence[Sequence[Run]], options: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Words of each group: method, ladder where several are used, settings in which the groups of a method differ."""
    methods = [group[0].choices["method"] for group in groups]
    labels = []
    for group, method, own in zip(groups, methods, options, strict=True):
        alike = [other for other, name in zip(groups, methods, strict=True) if name == method]
        ladders = {_sparsity_of(other) for other in alike}
        others = [_overrides_of(other[0]) for other in alike]
        words = [method, *([_sparsity_of(group)] if len(ladders) > 1 else [])]
        differing = [option for option in own if not all(option in given for given in others)]
        words += [_last_part(option) for option in own if option in differing or option.startswith(_ALWAYS_SHOWN)]
        labels.append(tuple(words))
    for label in {label for label in labels if labels.count(label) > 1}:  # runs whose folders have the same name
        same = [index for index, other in enumerate(labels) if other == label]
        for index, difference in zip(same, _differences([groups[i][0] for i in same]), strict=True):
            labels[index] = (*label, *difference)
    return labels


def _last_part(option: str) -> str:
    key, _, value = option.partition("=")
    if key.endswith("._target_"):
        return value.rpartition(".")[2]
    return f"{key.rpartition('.')[2]}={value}"


def _differences(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """For each run up to three settings that together no other run has; where these do not suffice, a number."""
    every = [_neutral(run) for run in runs]
    keys = sorted({key for one in every for key in one}, key=lambda key: (_rank(key), key))
    differing = [key for key in keys if len({repr(one.get(key)) for one in every}) > 1]
    for count in range(1, min(len(differing), 3) + 1):
        named = [tuple(_last_part(f"{key}={one.get(key, 'absent')}") for key in differing[:count]) for one in every]
        if len(set(named)) == len(named):
            return named
    return [(f"#{number}",) for number in range(1, len(runs) + 1)]


def _rank(key: str) -> int:
    return next((rank for rank, start in enumerate(_RECIPE_FIRST) if key.startswith(start)), len(_RECIPE_FIRST))


def _identity(run: Run) -> str:
    """A text that is equal for runs of one group: the configuration without seeds, densities, folders and devices."""
    return repr(sorted(_neutral(run).items(), key=lambda item: item[0]))


def _neutral(run: Run) -> Mapping[str, Any]:
    """The configuration, flat, without what may differ within a series: `Run.series` where the folder stores it.

    Folders of earlier versions store resolved values only. For them a key is left out if its value equals the density
    and its name contains `dens`. Copies of the density under other names are not recognised.
    """
    if run.series is not None:
        return {
            key: _neutral_value(value)
            for key, value in flattened(run.series).items()
            if not is_execution_key(key)
            and value not in (SEED, DENSITY)  # as below, so that replicates of both versions are one series
        }
    density = run.config.get("sparsity", {}).get("density")
    return {
        key: _neutral_value(value)
        for key, value in flattened(run.config).items()
        if not is_execution_key(key)
        and key.split(".")[0] != "seeds"
        and not _is_seed(key)
        and not (density is not None and not key.startswith("support.") and value == density and "dens" in key)
    }


@lru_cache(maxsize=10_000)
def is_execution_key(key: str) -> bool:
    """Whether a key affects where and how a run executes, not what it computes."""
    return any(key == name or key.startswith(f"{name}.") for name in NOT_IDENTITY)


def _is_seed(key: str) -> bool:
    """Whether a key is named after a seed. Seeds of a dataset's split do not follow the run's seed."""
    name = key.rpartition(".")[2]
    return name == "seed" or (name.endswith("_seed") and not key.startswith("dataset."))


def _neutral_value(value: Any) -> Any:
    """A value without the seeds and densities in the paths of tickets, which come from a run of the same seed."""
    if not isinstance(value, str):
        return value
    text = _SEED_NAME.sub("seed*", value)
    return _DENSITY_NAME.sub("*", text) if "/" in text or "level_" in text else text  # the pattern alone is slow


def _folder_parts(run: Run) -> tuple[str, str] | None:
    """(sparsity option, other overrides) as `lth.cli.run._folder_name` wrote them, else None."""
    method = run.choices["method"]
    parts = run.path.parts[:-1]
    for position in (len(parts) - 1, len(parts) - 2):
        found = re.fullmatch(rf"{re.escape(method)}-([A-Za-z_]\w*?)(-[\d.e+-]+)?", parts[position])
        if found:
            return found[1], "/".join(parts[position + 1 :])
    return None
