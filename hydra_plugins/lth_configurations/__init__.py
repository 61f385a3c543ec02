"""Search-path plugin of lth. Hydra looks for plugins in the namespace `hydra_plugins`."""
