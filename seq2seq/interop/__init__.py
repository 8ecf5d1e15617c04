"""Weights in and out of other libraries, by name."""
