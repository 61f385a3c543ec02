"""Tables and pictures of one run, and the report on many: CSV, Markdown, LaTeX, pictures and one HTML page."""
