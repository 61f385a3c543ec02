"""Launchers of lth. Hydra looks for launchers in the namespace `hydra_plugins`."""

from hydra_plugins.lth_launcher.processes import ProcessLauncher

__all__ = ["ProcessLauncher"]
