"""Hydra finds launchers in the namespace `hydra_plugins`; this is lth's."""

from hydra_plugins.lth_launcher.processes import ProcessLauncher

__all__ = ["ProcessLauncher"]
