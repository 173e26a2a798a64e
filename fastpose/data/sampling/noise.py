"""How much clips move, on which the strength of their noise depends."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastpose.data.pack.presence import present_joints


def total_difference(
    keypoints: ArrayLike, scores: ArrayLike | None, image_size: tuple[int, int]
) -> tuple[float, float]:
    """Return how much a clip moves, and the noise coefficient that follows from it.

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
    moved = movement(keypoints[0], scores[0]) if len(keypoints) else 0.0
    return moved, noise_coefficient(moved, image_size)


def noise_coefficient(total_difference: float, image_size: tuple[int, int]) -> float:
    """Return c of a clip whose movement is ``total_difference`` pixels of an image of (h, w) pixels."""
    height, width = image_size
    if not (0 < height < math.inf and 0 < width < math.inf):
        raise ValueError(f"image_size must be (h, w) above 0, got {image_size}")
    return float(noise_coefficients(total_difference, image_size))


def movement(keypoints: NDArray[np.floating], scores: NDArray[np.floating]) -> float:
    """Return D of one person: the summed steps of keypoints [T, V, 2] between frames, in their unit.

    A step counts only if the joint is present in both frames, by scores [T, V].
    """
    present = present_joints(keypoints, scores)
    points = np.where(present[..., None], keypoints, 0).astype(np.float64)
    dx, dy = np.moveaxis(np.diff(points, axis=0), -1, 0)  # [T - 1, V]
    steps = np.sqrt(dx * dx + dy * dy)[present[1:] & present[:-1]]
    # One after the other, as native code adds them, so that the bits agree.
    return float(np.cumsum(steps)[-1]) if len(steps) else 0.0


def total_differences(
    keypoints: NDArray[np.float32],
    scores: NDArray[np.float32],
    offsets: NDArray[np.int64],
    num_frames: NDArray[np.int32],
    threads: int = 1,
) -> NDArray[np.float64]:
    """Return D [n] of the first person of each packed clip: native ``total_differences``, on one thread."""
    starts = offsets[:-1].tolist()
    rows = [slice(start, start + length) for start, length in zip(starts, num_frames.tolist(), strict=True)]
    return np.array([movement(keypoints[clip], scores[clip]) for clip in rows], np.float64)


def noise_coefficients(total_difference: ArrayLike, image_sizes: ArrayLike) -> NDArray[np.float64]:
    """Return c = clip(√(D' / 10000), 0.2, 1) of D [...] and (h, w) [..., 2] in pixels; D' is D at 1920×1080."""
    sides = np.asarray(image_sizes, np.float64)
    diagonal = sides[..., 1] ** 2 + sides[..., 0] ** 2
    scale = np.sqrt((1920.0**2 + 1080.0**2) / diagonal)
    return np.clip(np.sqrt(np.asarray(total_difference) * scale / 10000.0), 0.2, 1.0)
