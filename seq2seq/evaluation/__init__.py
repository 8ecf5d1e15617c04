"""Strings or logits in, numbers with a signature out."""
