"""The command line: `lth run`, `lth report`, `lth ticket` and their like."""
