"""Treatments: what a control changes in a ticket before the ticket is trained.

A new treatment is one file here and one YAML in conf/treatment. Every public function of a module in this folder is a
treatment with the arguments of `Treatment`, and Hydra finds it as `lth.tickets.treatments.<function>`.
"""

from importlib import import_module
from inspect import getmembers, isfunction
from pkgutil import iter_modules

from lth.tickets.treatments._treatment import Treatment, treated

_modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__) if module.name[0] != "_"]

# Name -> treatment.
TREATMENTS: dict[str, Treatment] = {
    name: function
    for module in _modules
    for name, function in getmembers(module, isfunction)
    if function.__module__ == module.__name__ and name[0] != "_"
}
globals().update(TREATMENTS)  # a function takes the place of the module of the same name

__all__ = ["TREATMENTS", "Treatment", "treated", *TREATMENTS]
