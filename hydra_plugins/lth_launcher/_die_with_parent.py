"""Importing this makes a process die with its parent: a fork server can be told what to import, and nothing else.

The underscore keeps Hydra, which imports every module of a plugin, away from it.
"""

from lth.training.signals import die_with_parent

die_with_parent()
