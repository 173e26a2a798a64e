"""Models on disk: finished runs, checkpoints of others, and programs for other systems."""

from fastpose._lazy import attach

__getattr__, __dir__ = attach(__name__, __file__)
