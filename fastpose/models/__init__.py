"""Backbones with their heads, and their checkpoints."""

from fastpose._lazy import attach

__getattr__, __dir__ = attach(__name__, __file__)
