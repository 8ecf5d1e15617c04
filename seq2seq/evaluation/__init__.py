"""Strings or losses in, numbers with a signature out."""
