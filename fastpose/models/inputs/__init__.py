"""From a batch of keypoints to the input of a model."""

from fastpose._lazy import attach

__getattr__, __dir__ = attach(__name__, __file__)
