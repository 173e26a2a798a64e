"""When a joint counts: the rule of ``fastpose.ops.presence`` in NumPy."""

import numpy as np
from numpy.typing import NDArray

from fastpose.ops.limits import MAX_COORDINATE as MAX_COORDINATE


def present_joints(keypoints: NDArray[np.floating], scores: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which joints count: keypoints [..., 2], scores [...] → bool [...]."""
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
