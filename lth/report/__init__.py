"""From many runs to one table and one picture: `python -m lth.report runs/...`."""
