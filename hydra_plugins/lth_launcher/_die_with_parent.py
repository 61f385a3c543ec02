"""Importing this module makes the process die with its parent, and ignore Ctrl-C.

A fork server runs no code of its own except imports of listed modules, so the call is made at import. Hydra imports
every module of a plugin except those with a leading underscore.
"""

import signal

from lth.training.signals import die_with_parent

die_with_parent()
signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the sweep, and with it this process, without a traceback
