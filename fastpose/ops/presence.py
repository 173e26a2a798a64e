"""When a joint is present: the one rule, in torch. csrc/base/keypoint.hpp and the Triton kernels follow it."""

from torch import Tensor

from fastpose.ops.limits import MAX_COORDINATE as MAX_COORDINATE


def present_joints(keypoints: Tensor) -> Tensor:
    """Return which joints count: floating [..., 3 (x and y in pixels, score)] → bool [...].

    A joint is missing if its score is not a positive finite number, or a coordinate is NaN or beyond
    ``MAX_COORDINATE``. In float64, what float32 cannot hold is not finite.
    """
    xy, score = keypoints.detach().float().split([2, 1], dim=-1)
    inside = (xy.abs() <= MAX_COORDINATE).all(dim=-1)
    return inside & ((score > 0) & score.isfinite()).squeeze(-1)
