"""Callbacks that act at the start of a level, before its first step."""
