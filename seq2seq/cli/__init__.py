"""Thin command-line programs over the Python API."""
