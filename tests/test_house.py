"""The rules of the house: dependencies point one way, names are the field's, files stay readable."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "lth").rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "util", "common", "base", "src", "registry", "helpers", "misc"}
# what a room may import at module level, besides the standard library and itself
ALLOWED = {
    "pruning": {"torch", "lth.pruning"},
    "networks": {"torch", "lth.networks"},
    "tickets": {"torch", "numpy", "safetensors", "lth.pruning", "lth.tickets"},
}
LIGHTNING_ROOMS = ("modules", "callbacks", "datamodules", "loggers")
HYDRA_FILES = {"levels.py", "experiment.py", "command_line.py"}
OPTIONAL = {"torchvision", "timm", "wandb", "matplotlib", "ffcv", "sklearn", "schedulefree", "pytorch_optimizer"}
STANDARD = set(__import__("sys").stdlib_module_names)


def imports(path: Path, top_level: bool = True) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def within(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_dependencies_point_one_way(path: Path):
    room = path.relative_to(ROOT / "lth").parts[0]
    modules = {m for m in imports(path) if m.split(".")[0] not in STANDARD}
    if room in ALLOWED:
        assert {m for m in modules if not within(m, ALLOWED[room])} == set()
    if room in LIGHTNING_ROOMS or room in ALLOWED:
        everywhere = imports(path, top_level=False)
        assert not any(
            within(m, {"hydra", "omegaconf", "lth.experiment.loop", "lth.experiment.build", "lth.cli.run"})
            for m in everywhere
        )
    elif path.name not in HYDRA_FILES:
        assert not any(within(m, {"hydra", "omegaconf"}) for m in modules)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_optional_and_heavy_libraries_are_imported_where_they_are_used(path: Path):
    assert not {m for m in imports(path) if m.split(".")[0] in OPTIONAL}


def test_no_room_or_file_has_a_name_that_says_nothing():
    for path in (ROOT / "lth").rglob("*"):
        assert path.stem not in FORBIDDEN_NAMES, path


def test_no_branch_on_a_methods_name():
    for path in SOURCES:
        assert not re.search(r"\bif .*\bmethod\b\s*(==|in)\s*[\[\(\"']", path.read_text()), path


def test_functions_and_files_stay_readable():
    for path in SOURCES:
        text = path.read_text()
        assert len(text.splitlines()) <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno <= 45, f"{path}: {node.name}"


def test_everything_public_says_what_it_means():
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        assert path.read_text().strip() == "" or ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}: {node.name}"
