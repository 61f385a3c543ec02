"""Measures of the structure of `lth/`: `python -m tests.measures`. tests/test_house.py limits some of them."""

import ast
import statistics
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
Definition = ast.FunctionDef | ast.ClassDef


def sources() -> list[Path]:
    """The Python files of `lth/`."""
    return sorted((ROOT / "lth").rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text())


def definitions(path: Path) -> Iterator[Definition]:
    """Functions and classes at a module's top level."""
    yield from (node for node in tree(path).body if isinstance(node, Definition))


def is_internal(path: Path) -> bool:
    """Whether a module is private to its package: its name, or that of a folder above, begins with one underscore."""
    return any(part.startswith("_") and not part.startswith("__") for part in path.relative_to(ROOT).parts)


def public_names() -> list[str]:
    """Public functions and classes at top level: no underscore in front of the name or of its module's name."""
    return [
        f"{path.relative_to(ROOT).as_posix()}:{node.name}"
        for path in sources()
        if not is_internal(path)
        for node in definitions(path)
        if not node.name.startswith("_")
    ]


def functions() -> Iterator[tuple[Path, ast.FunctionDef]]:
    """Every function and method."""
    for path in sources():
        yield from ((path, node) for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef))


def classes() -> Iterator[tuple[Path, ast.ClassDef]]:
    """Every class."""
    for path in sources():
        yield from ((path, node) for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef))


def length(node: Definition) -> int:
    """Lines of a definition, the first and the last included, decorators not."""
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def arguments(node: ast.FunctionDef) -> int:
    """Named parameters of a function, `self` and `cls` not counted."""
    named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in named)


def most_arguments() -> tuple[int, str]:
    """The largest number of arguments of a function or method, and where it stands. Dataclasses group arguments."""
    return max((arguments(node), f"{path.relative_to(ROOT)}:{node.lineno} {node.name}") for path, node in functions())


def longest_class() -> tuple[int, str]:
    """The lines of the longest class, and where it stands."""
    return max((length(node), f"{path.relative_to(ROOT)}:{node.lineno} {node.name}") for path, node in classes())


def twins() -> list[str]:
    """Module names that stand in more than one folder; `__init__` and `__main__` apart."""
    counts = Counter(path.stem for path in sources() if not path.stem.startswith("__"))
    return sorted(name for name, count in counts.items() if count > 1)


def undocumented() -> list[str]:
    """Public names of all modules, and public methods of public classes, without a docstring.

    Methods that a framework calls (`on_...`, `forward`, `setup`, ...) are described by the framework, and methods that
    override one of a class of lth by that class.
    """
    hooks = ("on_", "forward", "setup", "training_step", "validation_step", "test_step", "configure_", "prepare_data")
    hooks += ("train_dataloader", "val_dataloader", "test_dataloader", "state_dict", "load_state_dict", "transfer_")
    hooks += ("after_step", "optimizer_step", "save_checkpoint", "load_checkpoint", "log_metrics")
    known = {node.name: node for _, node in classes()}
    described = {name: {m.name for m in _methods(node) if _has_text(m)} for name, node in known.items()}
    found = []
    for path in sources():
        for node in definitions(path):
            if node.name.startswith("_"):
                continue
            bases = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
            inherited = set().union(*(described.get(base, set()) for base in _all_bases(bases, known)))
            own = [m for m in _methods(node) if not m.name.startswith(("_", *hooks)) and m.name not in inherited]
            names = [f"{node.name}.{method.name}" for method in own if not _has_text(method)]
            found += [
                f"{path.relative_to(ROOT)}: {name}" for name in [*([] if _has_text(node) else [node.name]), *names]
            ]
    return found


def _methods(node: Definition) -> list[ast.FunctionDef]:
    return [part for part in node.body if isinstance(part, ast.FunctionDef)] if isinstance(node, ast.ClassDef) else []


def _has_text(node: Definition) -> bool:
    return ast.get_docstring(node) is not None


def _all_bases(names: list[str], known: dict[str, ast.ClassDef]) -> set[str]:
    """The named classes and all that they inherit from, as far as `known` has them."""
    found, todo = set[str](), list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += [ast.unparse(base) for base in known[name].bases] if name in known else []
    return found


def spread(lengths: list[int]) -> str:
    """Median, 90th percentile and maximum."""
    return f"{statistics.median(lengths):g} / {statistics.quantiles(lengths, n=10)[-1]:.0f} / {max(lengths)}"


def table() -> dict[str, str]:
    """Every measure by name."""
    lines = [len(path.read_text().splitlines()) for path in sources()]
    short = [path for path, count in zip(sources(), lines, strict=True) if count <= 20 and path.stem[:2] != "__"]
    return {
        "files / lines of lth/": f"{len(lines)} / {sum(lines):,}",
        "files of at most 20 lines (__init__, __main__ apart)": str(len(short)),
        "lines of a function, median / p90 / max": spread([length(node) for _, node in functions()]),
        "lines of a class, median / p90 / max": spread([length(node) for _, node in classes()]),
        "longest class": "{} ({})".format(*longest_class()),
        "most arguments": "{} ({})".format(*most_arguments()),
        "public top-level names": str(len(public_names())),
        "public top-level names, private modules included": str(
            sum(not node.name.startswith("_") for path in sources() for node in definitions(path))
        ),
        "public names and methods without a docstring": str(len(undocumented())),
        "modules outside the packages": str(len(list((ROOT / "lth").glob("*.py")))),
        "module names in two folders": ", ".join(twins()) or "none",
        "experiments outside a paper's folder": str(len(list((ROOT / "conf" / "experiment").glob("*.yaml")))),
    }


if __name__ == "__main__":
    for name, value in table().items():
        print(f"{name:56} {value}")
