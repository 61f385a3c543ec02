"""From many runs to one report: `python -m lth.report runs/...`: tables, pictures and a page."""
