"""How much a clip moves, on which the strength of its noise depends."""

import math

import numpy as np
from numpy.typing import ArrayLike

from fastpose.data.pack.presence import present_joints


def total_difference(
    keypoints: ArrayLike, scores: ArrayLike | None, image_size: tuple[int, int]
) -> tuple[float, float]:
    """How much a clip moves, and the noise coefficient that follows from it.

    Args:
        keypoints: [M, T, V, 2] in pixels, all frames of the clip.
        scores: [M, T, V]; a joint is missing where it is not positive and finite. None: where x = y = 0.
        image_size: (h, w) of the video in pixels.

    Returns:
        D, the summed movement of the first person's joints in pixels, steps from or to a missing joint left
        out; and c = clip(sqrt(D' / 10000), 0.2, 1), D' being D as 1920×1080 video would have it.

    Raises:
        ValueError: the shapes do not fit each other, or the image has no size.
    """
    keypoints = np.asarray(keypoints, dtype=np.float64)
    if keypoints.ndim != 4 or keypoints.shape[3] != 2:
        raise ValueError(f"keypoints must be [M, T, V, 2], got shape {list(keypoints.shape)}")
    if scores is None:
        scores = (keypoints != 0).any(axis=-1)
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != keypoints.shape[:3]:
        raise ValueError(
            f"scores must be {list(keypoints.shape[:3])} as keypoints are, got {list(scores.shape)}"
        )
    moved = 0.0
    for person, score in zip(keypoints[:1], scores[:1], strict=True):
        present = present_joints(person, score)  # [T, V]
        person = np.where(present[..., None], person, 0.0)
        steps = np.linalg.norm(np.diff(person, axis=0), axis=-1)  # [T - 1, V]
        moved = float(steps[present[1:] & present[:-1]].sum())
    return moved, noise_coefficient(moved, image_size)


def noise_coefficient(total_difference: float, image_size: tuple[int, int]) -> float:
    """c of a clip whose movement is ``total_difference`` pixels of an image of (h, w) pixels."""
    height, width = image_size
    if not (0 < height < math.inf and 0 < width < math.inf):
        raise ValueError(f"image_size must be (h, w) above 0, got {image_size}")
    scale = math.sqrt((1920.0**2 + 1080.0**2) / (float(width) ** 2 + float(height) ** 2))
    return min(max(math.sqrt(total_difference * scale / 10000.0), 0.2), 1.0)
