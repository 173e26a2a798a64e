"""Operators: one folder each, with a reference, kernels, and the public function that chooses among them."""

from fastpose._lazy import attach

__getattr__, __dir__ = attach(__name__, __file__)
