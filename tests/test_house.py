"""The structure of `lth/`: imports point downward, no name is meaningless, files and functions are short."""

import ast
import re
from pathlib import Path

import pytest

from docs import architecture
from tests import measures
from tests.mutations.faults import FAULTS

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "lth").rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "util", "common", "base", "src", "registry", "helpers", "misc"}
# Packages from bottom to top. A package imports only packages of lower rank.
RANK = {
    **dict.fromkeys(("plan", "storage", "pruning"), 0),
    **dict.fromkeys(("training", "datamodules", "tickets"), 1),
    **dict.fromkeys(("networks", "analysis", "modules", "loggers"), 2),
    **dict.fromkeys(("callbacks", "sanity"), 3),
    "report": 4,
    "experiment": 5,
    "cli": 6,
}
COMMANDS = {"run", "report", "ticket", "summary", "sensitivity", "connectivity", "verdict"}  # `python -m lth.<command>`
# The third-party libraries that some packages may import at module level.
LIBRARIES = {
    "plan": set(),
    "pruning": {"torch", "numpy"},
    "networks": {"torch", "yaml"},
    "tickets": {"torch", "numpy", "safetensors"},
}
OPTIONAL_IN = {"lth/pruning/_compiled_linear.py": {"numba"}}  # lth imports this file only if numba is installed
HYDRA_ROOMS = {"experiment", "cli"}
OPTIONAL = {
    "torchvision",
    "timm",
    "wandb",
    "matplotlib",
    "ffcv",
    "sklearn",
    "schedulefree",
    "pytorch_optimizer",
    "numba",
}
STANDARD = set(__import__("sys").stdlib_module_names)


def imports(path: Path, top_level: bool = True) -> set[str]:
    tree = measures.tree(path)
    nodes = tree.body if top_level else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "lth").parts[0]


def is_command(path: Path) -> bool:
    return path.name == "__main__.py" and room_of(path) in COMMANDS


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_folder_is_a_known_package():
    packages = {path.name for path in (ROOT / "lth").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert packages == set(RANK) | COMMANDS


def test_only_two_modules_lie_outside_the_packages():
    assert {path.name for path in (ROOT / "lth").glob("*.py")} <= {"__init__.py", "__main__.py"}


@pytest.mark.slow
@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_packages_import_only_packages_of_lower_rank(path: Path):
    room = room_of(path)
    if room not in RANK or is_command(path):
        return
    found = {module.split(".")[1] for module in imports(path, top_level=False) if module.startswith("lth.")}
    assert {other for other in found - {room} if RANK[other] >= RANK[room]} == set()


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_packages_import_only_their_libraries_at_module_level(path: Path):
    room = room_of(path)
    outside = (
        {module.split(".")[0] for module in imports(path)} - STANDARD - {"lth"} - OPTIONAL_IN.get(named(path), set())
    )
    if room in LIBRARIES:
        assert outside <= LIBRARIES[room]
    if room not in HYDRA_ROOMS:
        assert not outside & {"hydra", "omegaconf"}
    assert not outside & OPTIONAL, "optional and heavy libraries are imported where they are used"


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_modules_with_an_underscore_are_imported_only_within_their_package(path: Path):
    for module in imports(path, top_level=False):
        parts = module.split(".")
        if parts[0] == "lth" and any(re.match(r"_[a-z]", part) for part in parts):
            assert parts[1] == room_of(path), module


def test_no_folder_or_file_has_a_meaningless_name():
    for path in (ROOT / "lth").rglob("*"):
        assert path.stem not in FORBIDDEN_NAMES, path


def test_no_branch_on_a_methods_name():
    for path in SOURCES:
        assert not re.search(r"\bif .*\bmethod\b\s*(==|in)\s*[\[\(\"']", path.read_text()), path


@pytest.mark.slow
def test_functions_and_files_stay_readable():
    for path in SOURCES:
        text = path.read_text()
        assert len(text.splitlines()) <= 300, path
        for node in ast.walk(measures.tree(path)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno <= 45, f"{path}: {node.name}"


def test_everything_public_says_what_it_means():
    for path in SOURCES:
        assert path.read_text().strip() == "" or ast.get_docstring(measures.tree(path)), path
    assert measures.undocumented() == []


def test_the_measures_of_the_structure_stay_within_their_limits():
    # raise this number for a new method or criterion; keep helpers private
    assert len(measures.public_names()) <= 400
    assert measures.longest_class()[0] <= 150
    assert measures.most_arguments()[0] <= 9
    assert measures.twins() == []


@pytest.mark.slow
def test_the_architecture_picture_is_that_of_the_code():
    assert architecture.PICTURE.read_text() == architecture.draw(), "run: python -m docs.architecture"


def test_the_architecture_page_names_files_that_exist():
    page = (ROOT / "docs" / "architecture.md").read_text()
    files = set(re.findall(r"\b(?:lth|conf|tests|docs)/[\w/]+(?:\.\w+)?", page))
    assert files
    assert {name for name in files if not (ROOT / name).exists()} == set()


def test_the_faults_of_the_mutations_can_be_put_into_the_code():
    missing = [fault.name for fault in FAULTS if fault.old not in (ROOT / fault.file).read_text()]
    assert len(FAULTS) >= 40
    assert missing == [], "tests/mutations/faults.yaml names lines that are no longer in the code"
