"""Tensors in, tensors out: attention, positions, layers, stacks, heads. Knows no text, no files, no Hydra."""
