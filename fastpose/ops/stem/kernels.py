"""What the Triton kernels of the stem share: a mark's window and values, and the constants of a convolution."""

from collections.abc import Sequence

import triton
import triton.language as tl

from fastpose.ops.heatmap.kernels import joint_value, limb_value, load_joint, load_limb
from fastpose.ops.heatmap.kernels_gradient import pixel_range
from fastpose.ops.heatmap.modes import HeatmapMode


@triton.jit
def mark_window(pose, limbs, mark, radius, height, width, LIMBS: tl.constexpr):
    """Return (first x, last x, first y, last y) of a joint or limb in the image; the last are -1 if it is not drawn."""
    if LIMBS:
        ax, ay, bx, by, _score, drawn, _short = load_limb(
            pose, tl.load(limbs + mark * 2), tl.load(limbs + mark * 2 + 1)
        )
    else:
        ax, ay, _score, drawn = load_joint(pose, mark)
        bx, by = ax, ay
    x_first, x_last = pixel_range(tl.minimum(ax, bx), tl.maximum(ax, bx), radius, width, drawn)
    y_first, y_last = pixel_range(tl.minimum(ay, by), tl.maximum(ay, by), radius, height, drawn)
    return x_first, x_last, y_first, y_last


@triton.jit
def mark_value(pose, limbs, mark, y, x, radius, decay, LIMBS: tl.constexpr):
    """Return what a joint or limb draws on pixels of row y and of x [1, COLUMNS, 1]; 0 outside its window."""
    y = tl.cast(y, tl.int32)
    if LIMBS:
        ax, ay, bx, by, score, _drawn, _short = load_limb(
            pose, tl.load(limbs + mark * 2), tl.load(limbs + mark * 2 + 1)
        )
        value = limb_value(y, x, y, ax, ay, bx, by, score, radius, decay)
    else:
        centre_x, centre_y, score, _drawn = load_joint(pose, mark)
        value = joint_value(y, x, centre_x, centre_y, score, radius, decay)
    return value


def power_of_two(size: int, largest: int) -> int:
    return min(triton.next_power_of_2(size), largest)


def geometry(
    kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], mode: HeatmapMode
) -> dict[str, int | bool]:
    """Return the constants of the kernels."""
    names = ("KT", "KH", "KW", "ST", "SY", "SX", "PT", "PY", "PX")
    constants = dict(zip(names, (*kernel, *stride, *padding), strict=True))
    return constants | {"LIMBS": mode == "limb", "GRAYSCALE": mode == "grayscale_sum"}
