"""Optimizers of other libraries, as a recipe takes them; they come with the extra `lth[optimizers]`."""
