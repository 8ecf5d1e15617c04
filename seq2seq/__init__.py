"""Encoder-decoder machine translation and language modelling in PyTorch."""
