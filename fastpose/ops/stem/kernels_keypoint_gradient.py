"""Triton kernels for the stem's gradient with respect to the keypoints, and their launch.

One program owns one joint of one person in one frame: for each pixel that the joint or one of its limbs gave its
value, it gathers the gradient of the map there and adds it up. The rule of whom a pixel belongs to is that of
the renderer's gradient, as is the order of sums, which no launch changes. Multiply-adds are not contracted, so
that equal marks have equal values wherever they are computed.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastpose.ops.heatmap.kernels import (
    LOG2_E,
    along_and_across,
    dense_keypoints,
    grid,
    limb_table,
    load_joint,
    load_limb,
    poses_of,
    program_index,
    segment_axis,
)
from fastpose.ops.heatmap.kernels_gradient import end_offset, end_score, mark_position
from fastpose.ops.heatmap.modes import HeatmapMode
from fastpose.ops.launch import launch
from fastpose.ops.stem.kernels import (
    geometry,
    mark_value,
    mark_window,
    power_of_two,
)

MAX_GATHERED = 16  # outputs in one step
REGISTERS = 224  # of a lane, at most: as few as spill nothing


@triton.jit
def pixel_gradient(
    gradient,  # [T', H', W', OUT_CHANNELS] of a clip
    filters,  # [KT, KH, KW, OUT_CHANNELS] of a channel
    frame, y, x, out_frames, out_height, out_width,
    OUT_CHANNELS: tl.constexpr, KT: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, ST: tl.constexpr,
    SY: tl.constexpr, SX: tl.constexpr, PT: tl.constexpr, PY: tl.constexpr, PX: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    """Return the gradient of pixel (frame, y, x) of the map."""
    ky = tl.arange(0, ROWS)[:, None, None]
    kx = tl.arange(0, COLUMNS)[None, :, None]
    down, right = y + PY - ky, x + PX - kx  # times the stride, from the first output
    row, column = down // SY, right // SX
    seen = (down >= 0) & (row * SY == down) & (row < out_height) & (ky < KH)
    seen = seen & (right >= 0) & (column * SX == right) & (column < out_width) & (kx < KW)
    products = tl.zeros([ROWS, COLUMNS, OUTPUTS], tl.float32)
    for kt in range(KT):
        since = frame + PT - kt
        out_frame = since // ST
        if (since >= 0) & (out_frame * ST == since) & (out_frame < out_frames):
            for first in range(0, OUT_CHANNELS, OUTPUTS):
                output = first + tl.arange(0, OUTPUTS)[None, None, :]
                known = seen & (output < OUT_CHANNELS)
                source = gradient + (
                    (tl.cast(out_frame, tl.int64) * out_height + row) * out_width + column
                ) * (OUT_CHANNELS)
                tap = filters + ((kt * KH + ky) * KW + kx) * OUT_CHANNELS + output
                value = tl.load(source + output, mask=known, other=0.0).to(tl.float32)
                products += value * tl.load(tap, mask=known, other=0.0)
    return tl.sum(products)


@triton.jit
def joint_terms(pose, joint, y, x):
    """Return what a joint's value is multiplied by for its x, y (both times the variance) and score."""
    centre_x, centre_y, score, drawn = load_joint(pose, joint)
    return x.to(tl.float32) - centre_x, y.to(tl.float32) - centre_y, 1.0 / tl.where(drawn, score, 1.0)


@triton.jit
def limb_terms(pose, joint_a, joint_b, joint, y, x):
    """Return the same of a limb's value for the end ``joint``."""
    ax, ay, bx, by, score, drawn, short = load_limb(pose, joint_a, joint_b)
    ux, uy, length = segment_axis(ax, ay, bx, by)
    along, across = along_and_across(y, x, y, ax, ay, ux, uy)
    is_a = joint_a == joint
    to_x, to_y = end_offset(along, across, length.to(tl.float32), ux.to(tl.float32), uy.to(tl.float32), is_a)
    return to_x, to_y, end_score(pose, joint_a, joint_b, is_a, score, drawn, short)


@triton.jit
def keypoint_gradients(
    keypoints,  # float32 [B, M, T, V, 3]
    limbs,  # int32 [L, 2]; LIMBS only
    weight,  # float32 [C, KT, KH, KW, OUT_CHANNELS]
    gradient,  # [B, T', H', W', OUT_CHANNELS]
    result,  # float32 [B, M, T, V, 3]
    num_joints_of_all,  # B * M * T * V
    num_persons,
    num_frames,
    num_joints,
    num_limbs,
    height,
    width,
    out_frames,
    out_height,
    out_width,
    radius,
    decay,  # of exp2
    inverse_variance,
    OUT_CHANNELS: tl.constexpr,
    KT: tl.constexpr,
    KH: tl.constexpr,
    KW: tl.constexpr,
    ST: tl.constexpr,  # strides
    SY: tl.constexpr,
    SX: tl.constexpr,
    PT: tl.constexpr,  # padding
    PY: tl.constexpr,
    PX: tl.constexpr,
    LIMBS: tl.constexpr,
    GRAYSCALE: tl.constexpr,  # all joints share the channel 0
    ROWS: tl.constexpr,  # powers of two, at least KH and KW
    COLUMNS: tl.constexpr,
    OUTPUTS: tl.constexpr,
):
    place = program_index()
    if place >= num_joints_of_all:
        return
    clip, person, frame, joint = mark_position(place, num_persons, num_frames, num_joints)
    frame_pose, person_stride = poses_of(keypoints, clip, frame, num_persons, num_frames, num_joints)
    pose = frame_pose + person * person_stride
    source = gradient + clip * out_frames * out_height * out_width * OUT_CHANNELS

    sum_x, sum_y, sum_score = 0.0, 0.0, 0.0
    first_mark = 0 if LIMBS else joint
    last_mark = num_limbs - 1 if LIMBS else joint
    for mark in range(first_mark, last_mark + 1):
        joint_a, joint_b = joint, joint
        if LIMBS:
            joint_a, joint_b = tl.load(limbs + mark * 2), tl.load(limbs + mark * 2 + 1)
        if (joint_a == joint) | (joint_b == joint):
            channel = 0 if GRAYSCALE else mark
            filters = weight + tl.cast(channel, tl.int64) * (KT * KH * KW * OUT_CHANNELS)
            first_x, last_x, first_y, last_y = mark_window(pose, limbs, mark, radius, height, width, LIMBS)
            for row in range(first_y, last_y + 1):
                for column in range(first_x, last_x + 1):
                    y, x = tl.cast(row, tl.int32), tl.cast(column, tl.int32)
                    value = mark_value(pose, limbs, mark, y, x, radius, decay, LIMBS)
                    larger = 0
                    for other in range(num_persons):
                        rival = mark_value(
                            frame_pose + other * person_stride, limbs, mark, y, x, radius, decay, LIMBS
                        )
                        larger += ((rival > value) | ((rival == value) & (other < person))).to(tl.int32)
                    if (value > 0.0) & (larger == 0):
                        value *= pixel_gradient(
                            source, filters, frame, y, x, out_frames, out_height, out_width, OUT_CHANNELS, KT, KH,
                            KW, ST, SY, SX, PT, PY, PX, ROWS, COLUMNS, OUTPUTS,
                        )  # fmt: skip
                        if LIMBS:
                            to_x, to_y, to_score = limb_terms(pose, joint_a, joint_b, joint, y, x)
                        else:
                            to_x, to_y, to_score = joint_terms(pose, joint, y, x)
                        sum_x += value * to_x
                        sum_y += value * to_y
                        sum_score += value * to_score
    tl.store(result + place * 3, sum_x * inverse_variance)
    tl.store(result + place * 3 + 1, sum_y * inverse_variance)
    tl.store(result + place * 3 + 2, sum_score)


def gather_constants(weight_shape: Sequence[int]) -> dict[str, int]:
    """Return the constants beside the geometry."""
    channels, _, _, rows, columns = weight_shape
    return {
        "OUT_CHANNELS": channels,
        "ROWS": triton.next_power_of_2(rows),
        "COLUMNS": triton.next_power_of_2(columns),
        "OUTPUTS": power_of_two(channels, MAX_GATHERED),
    }


def outputs_last(weight: Tensor) -> Tensor:
    """Map [O, C, kT, kH, kW] → float32 [C, kT, kH, kW, O]."""
    return weight.to(torch.float32).permute(1, 2, 3, 4, 0).contiguous()


def keypoint_gradient(
    gradient: Tensor,  # [B, O, T', H', W']
    keypoints: Tensor,  # [B, M, T, V, 3]
    weight: Tensor,  # [O, C, kT, kH, kW]
    size: Sequence[int],
    sigma: float,
    mode: HeatmapMode,
    limbs: list[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> Tensor:
    """Return float32 [B, M, T, V, 3] from the gradient of the result, of any strides; arguments as the operator's."""
    keypoints = dense_keypoints(keypoints)
    result = torch.empty_like(keypoints)
    if gradient.numel() == 0 or keypoints.numel() == 0:
        return result.zero_()
    gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
    _, num_persons, num_frames, num_joints, _ = keypoints.shape
    num_joints_of_all = keypoints.numel() // 3
    launch(
        keypoint_gradients, grid(num_joints_of_all),
        keypoints, limb_table(tuple(limbs), keypoints.device), outputs_last(weight), gradient, result,
        num_joints_of_all, num_persons, num_frames, num_joints, len(limbs) // 2, *size, *gradient.shape[2:],
        3 * sigma, -LOG2_E / (2 * sigma * sigma), 1 / (sigma * sigma),
        **gather_constants(weight.shape), **geometry(weight.shape[2:], stride, padding, mode),
        num_warps=1, maxnreg=REGISTERS, enable_fp_fusion=False,
    )  # fmt: skip
    return result
