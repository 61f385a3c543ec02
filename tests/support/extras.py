"""Tests of what an optional dependency brings are skipped, with the reason, where it is not installed."""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

# extra of lth -> its packages, as pyproject.toml has them
EXTRAS = {
    "timm": ("timm",),
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
    "ffcv": ("ffcv", "numba"),
    "sparse": ("numba",),
    "slurm": ("submitit",),
    "ray": ("ray",),
    "optuna": ("optuna",),
    "structured": ("torch-pruning",),
    "optimizers": ("schedulefree", "pytorch-optimizer"),
    "export": ("onnx", "onnxruntime", "onnxscript"),
}


def missing_extra(error: BaseException) -> str | None:
    """Why a test that failed with `error` could not run: it needs an extra of lth that is not installed. Else None.

    The error says so itself (`pip install 'lth[timm]'`), or is the failed import of one of its packages.
    """
    for cause in _causes(error):
        named = re.findall(r"pip install 'lth\[(\w+)\]'", str(cause))
        module = (getattr(cause, "name", None) or "").partition(".")[0].replace("_", "-")
        named += [extra for extra, packages in EXTRAS.items() if module in packages]
        for extra in named:
            absent = [package for package in EXTRAS.get(extra, ()) if not _installed(package)]
            if absent:
                return f"{' and '.join(absent)} not installed: pip install 'lth[{extra}]'"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
