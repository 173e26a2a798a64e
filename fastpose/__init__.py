"""fastpose: pose-based action recognition, robust to noisy keypoints, fast on any machine."""

from fastpose._lazy import attach

__version__ = "0.1.0"

__getattr__, __dir__ = attach(__name__, __file__)
