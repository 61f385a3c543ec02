"""Reads checkpoints, state dicts and tickets, of lth and of other programs, without running code that they hold."""
