"""Data sets that need no download beyond PyPI."""
