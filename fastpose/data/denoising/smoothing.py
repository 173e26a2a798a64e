"""The noise of a track, and the smoothing that suits it: the definition that csrc/denoise is tested against.

A track is one person's keypoints in all frames of a clip. Source: Stein, "Estimation of the Mean of a Multivariate
Normal Distribution", 1981 (the risk of a linear smoother, known but for the truth).
"""

import numpy as np
from numpy.typing import NDArray

WIDTHS = (0.0, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0)  # deviations of the smoothers, in frames
REACH = 4.0  # deviations after which a smoother ends


def noise_variances(keypoints: NDArray[np.floating], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the variance [D] of white noise along each axis of keypoints [T, V, D], in their unit squared.

    Second differences of joints that are present in three frames running hardly see motion; 0 where there are none.
    """
    points = keypoints.astype(np.float64)
    bends = points[:-2] - 2 * points[1:-1] + points[2:]
    known = present[:-2] & present[1:-1] & present[2:]
    if not known.any():
        return np.zeros(points.shape[2])
    return (bends[known] ** 2).mean(axis=0) / 6


def smooth_tracks(
    keypoints: NDArray[np.float32],
    present: NDArray[np.bool_],
    begins: NDArray[np.int64],
    remainder: bool = False,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Return keypoints [rows, V, D] with each joint smoothed along its track, rows ``begins[i]:begins[i + 1]``.

    Of the Gaussian smoothers of ``WIDTHS``, and zero where keypoints are the ``remainder`` of an estimate, a joint gets
    the one of least risk: half its own, by Stein's estimate, half that of the whole track, since one joint's alone is
    uncertain. Missing joints stay as they are, and count nowhere; ``threads`` is left unused.
    """
    smoothed = keypoints.copy()
    for begin, end in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True):
        smoothed[begin:end] = _smooth_track(keypoints[begin:end], present[begin:end], remainder)
    return smoothed


def _smooth_track(
    keypoints: NDArray[np.float32], present: NDArray[np.bool_], remainder: bool
) -> NDArray[np.floating]:
    noise = noise_variances(keypoints, present).sum()
    if noise == 0:
        return keypoints
    points = np.where(present[..., None], keypoints, 0).astype(np.float64)
    weights = present.astype(np.float64)
    choices = [_smoothed(points, weights, width) for width in WIDTHS]
    if remainder:
        choices.append((np.zeros_like(points), np.zeros_like(weights)))
    risks = np.stack(
        [((((y - points) ** 2).sum(axis=2) + 2 * noise * own) * weights).sum(axis=0) for y, own in choices]
    )
    counts = weights.sum(axis=0)
    mixed = risks / np.maximum(counts, 1) + risks.sum(axis=1, keepdims=True) / counts.sum()
    best = np.stack([y for y, _ in choices])[mixed.argmin(axis=0), :, np.arange(points.shape[1])]  # [V, T, D]
    return np.where(present[..., None], best.swapaxes(0, 1), keypoints)


def _smoothed(
    points: NDArray[np.float64], weights: NDArray[np.float64], width: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means over neighbouring frames [T, V, D], and the share of the frame itself in each [T, V]."""
    if width == 0:
        return points, weights
    distance = np.abs(np.subtract.outer(np.arange(len(points)), np.arange(len(points))))
    kernel = np.where(distance <= int(REACH * width), np.exp(-0.5 * (distance / width) ** 2), 0)
    total = np.where(weights > 0, kernel @ weights, 1)
    return np.einsum("st,tvd->svd", kernel, points) / total[..., None], weights / total
