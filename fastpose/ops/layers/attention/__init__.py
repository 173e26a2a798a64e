"""Softmax attention over one axis of a grid of tokens: space or time, without transposed copies."""

from fastpose._lazy import attach

__getattr__, __dir__ = attach(__name__, __file__)
