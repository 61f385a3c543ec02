"""Importing this module makes the process die with its parent.

A fork server takes a list of modules to import and runs nothing else in itself, so the call is a module. Hydra imports
every module of a plugin except those with a leading underscore.
"""

from lth.training.signals import die_with_parent

die_with_parent()
