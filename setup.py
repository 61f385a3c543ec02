"""Maps conf/, which lies beside the package in a checkout, to lth/conf in a wheel. The rest is in pyproject.toml."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["lth", "lth.*", "hydra_plugins", "hydra_plugins.*"]), "lth.conf"],
    package_dir={"lth.conf": "conf"},
)
