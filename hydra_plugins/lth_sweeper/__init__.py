"""Hydra finds sweepers in the namespace `hydra_plugins`; this is lth's."""
