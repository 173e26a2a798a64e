"""Normalised rows, sums over keys, and the loss."""
