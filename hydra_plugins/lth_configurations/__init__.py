"""Hydra finds plugins of its search path in the namespace `hydra_plugins`; this is lth's."""
