"""When a joint counts: how sources mark a missing one, and the rule of ``fastpose.ops.presence`` in NumPy."""

import numpy as np
from numpy.typing import NDArray

from fastpose.ops.limits import MAX_COORDINATE as MAX_COORDINATE

# What estimators write for a joint that they did not find, whatever score they put beside it.
_MARKS = (0, -1)


def given_joints(
    keypoints: NDArray[np.number],
    scores: NDArray[np.number] | None = None,
    min_score: float = 0,
    *,
    marked: bool = True,
) -> NDArray[np.bool_]:
    """Return which joints a source gives at all: keypoints [..., 2], scores [...] or None → bool [...].

    Missing are a joint whose score is ≤ 0, below ``min_score`` or not finite, one of whose coordinates is not
    finite, or that lies at (0, 0) or (−1, −1), the marks of estimators (unless nothing is ``marked`` so).
    """
    x, y = keypoints[..., 0], keypoints[..., 1]
    given = np.isfinite(x) & np.isfinite(y)
    for mark in _MARKS if marked else ():
        given &= (x != mark) | (y != mark)
    if scores is not None:
        given &= np.isfinite(scores) & (scores > 0) & (scores >= min_score)
    return given


def present_joints(keypoints: NDArray[np.floating], scores: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which joints of a pack count: keypoints [..., 2], scores [...] → bool [...]."""
    inside = (np.abs(keypoints) <= MAX_COORDINATE).all(axis=-1)
    return (scores > 0) & np.isfinite(scores) & inside


def tell_stray_joints(count: int) -> str:
    """Say what became of ``count`` joints, as ``count_stray_joints`` found them."""
    return f"{count} joints lie more than {MAX_COORDINATE:,.0f} pixels from the image and count as missing"


def count_stray_joints(keypoints: NDArray[np.floating], scores: NDArray[np.floating]) -> int:
    """Count the joints (keypoints [..., 2], scores [...]) that have a score, but lie too far away to count."""
    if keypoints.min() >= -MAX_COORDINATE and keypoints.max() <= MAX_COORDINATE:
        return 0
    return int(np.count_nonzero((scores > 0) & ~present_joints(keypoints, scores)))
