"""From files on disk to sampled, noised batches."""

from fastpose._lazy import attach

__getattr__, __dir__ = attach(__name__, __file__)
