"""Sweepers of lth. Hydra looks for sweepers in the namespace `hydra_plugins`."""
