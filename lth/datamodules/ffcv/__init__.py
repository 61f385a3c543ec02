"""Reads and writes the .beton files of FFCV (Leclerc et al. 2023)."""
