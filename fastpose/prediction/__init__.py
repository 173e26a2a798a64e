"""What a trained model says of clips, held in memory or in files."""

from fastpose._lazy import attach

__getattr__, __dir__ = attach(__name__, __file__)
