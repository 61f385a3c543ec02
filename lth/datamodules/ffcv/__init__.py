"""FFCV: datasets in its file format, written and read."""
