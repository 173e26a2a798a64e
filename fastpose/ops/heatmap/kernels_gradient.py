"""Triton kernels for the gradient of the maps, and their launch.

One program owns one joint of one person in one frame and gathers over the windows of what it draws, so there
are no atomics, and results are bitwise identical on every run. A pixel's gradient goes to the mark that gave it
its value: of equal ones the first person, then (grayscale by maximum) the first joint. Multiply-adds are not
contracted, so that equal marks have equal values wherever they are computed.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastpose.ops.heatmap.kernels import (
    LOG2_E,
    along_and_across,
    dense_keypoints,
    grid,
    joint_value,
    limb_table,
    limb_value,
    limb_window,
    load_joint,
    load_limb,
    past_the_ends,
    poses_of,
    program_index,
    segment_axis,
    window,
)
from fastpose.ops.heatmap.modes import HeatmapMode
from fastpose.ops.launch import launch


@triton.jit
def mark_position(mark, num_persons, num_frames, num_joints):
    """Return (clip, person, frame, joint) of an element of [B, M, T, V]."""
    frame = mark // num_joints % num_frames
    person = mark // num_joints // num_frames % num_persons
    return mark // num_joints // num_frames // num_persons, person, frame, mark % num_joints


@triton.jit
def pixel_range(low, high, radius, size, drawn):
    """Return the first and last pixel of a window inside the image; empty if nothing is drawn."""
    first, last = window(low, high, radius)
    return tl.maximum(first, 0), tl.where(drawn, tl.minimum(last, size - 1), -1)


@triton.jit
def raise_to_joint(
    best, frame_pose, person_stride, rival, num_persons, row, x, radius, decay, JOINTS: tl.constexpr
):
    """Return the larger of ``best`` and a rival: person ``rival``, or with JOINTS (joint-major) any person's joint."""
    pose = frame_pose + rival * person_stride
    if JOINTS:
        pose = frame_pose + rival % num_persons * person_stride + rival // num_persons * 3
    centre_x, centre_y, score, _drawn = load_joint(pose, 0)
    return tl.maximum(best, joint_value(row, x, centre_x, centre_y, score, radius, decay))


@triton.jit
def raise_to_limb(best, pose, joint_a, joint_b, row, x, top, radius, decay):
    ax, ay, bx, by, score, drawn, _short = load_limb(pose, joint_a, joint_b)
    if drawn:
        best = tl.maximum(best, limb_value(row, x, top, ax, ay, bx, by, score, radius, decay))
    return best


@triton.jit
def end_offset(along, across, length, ux, uy, is_a):
    """Return what a limb's value is multiplied by for the x and y of its end a or b, both times the variance."""
    beyond = past_the_ends(along, length)
    to_b = (along - beyond) / tl.maximum(length, 1.0)  # of the nearest point's way
    share = tl.where(is_a, 1.0 - to_b, to_b)
    return share * (beyond * ux - across * uy), share * (beyond * uy + across * ux)


@triton.jit
def end_score(pose, joint_a, joint_b, is_a, score, drawn, short):
    """Return the same for the score of its end a or b; equal scores share it."""
    a_score, b_score = tl.load(pose + joint_a * 3 + 2), tl.load(pose + joint_b * 3 + 2)
    own, other = tl.where(is_a, a_score, b_score), tl.where(is_a, b_score, a_score)
    share = tl.where(own < other, 1.0, tl.where(own == other, 0.5, 0.0))
    share = tl.where(short, tl.where(is_a, 1.0, 0.0), share)
    return share / tl.where(drawn, score, 1.0)


@triton.jit
def joint_gradients(
    keypoints,  # float32 [B, M, T, V, 3]
    gradient,  # [B, V | 1, T, H, W] of the strides
    result,  # float32 [B, M, T, V, 3]
    clip_stride,
    channel_stride,
    frame_stride,
    row_stride,
    column_stride,
    num_marks,
    num_persons,
    num_frames,
    num_joints,
    height,
    width,
    radius,
    decay,
    inverse_variance,
    GRAYSCALE: tl.constexpr,
    JOINTS_COMPETE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    mark = program_index()
    if mark >= num_marks:
        return
    clip, person, frame, joint = mark_position(mark, num_persons, num_frames, num_joints)
    centre_x, centre_y, score, drawn = load_joint(keypoints + mark * 3, 0)
    x_first, x_last = pixel_range(centre_x, centre_x, radius, width, drawn)
    y_first, y_last = pixel_range(centre_y, centre_y, radius, height, drawn)
    source = gradient + clip * clip_stride + frame * frame_stride
    if not GRAYSCALE:
        source += joint * channel_stride
    frame_pose, person_stride = poses_of(keypoints, clip, frame, num_persons, num_frames, num_joints)
    if JOINTS_COMPETE:
        place = joint * num_persons + person
        num_rivals = num_joints * num_persons
    else:
        frame_pose += joint * 3
        place = person
        num_rivals = num_persons

    sum_x = tl.zeros([ROWS, COLUMNS], tl.float32)
    sum_y = tl.zeros([ROWS, COLUMNS], tl.float32)
    sum_score = tl.zeros([ROWS, COLUMNS], tl.float32)
    for top in range(y_first, y_last + 1, ROWS):
        for left in range(x_first, x_last + 1, COLUMNS):
            row = top + tl.arange(0, ROWS)[:, None]
            x = left + tl.arange(0, COLUMNS)[None, :]
            value = joint_value(row, x, centre_x, centre_y, score, radius, decay)
            earlier = tl.zeros([ROWS, COLUMNS], tl.float32)
            for rival in range(place):
                earlier = raise_to_joint(
                    earlier,
                    frame_pose,
                    person_stride,
                    rival,
                    num_persons,
                    row,
                    x,
                    radius,
                    decay,
                    JOINTS_COMPETE,
                )
            later = tl.zeros([ROWS, COLUMNS], tl.float32)
            for rival in range(place + 1, num_rivals):
                later = raise_to_joint(
                    later,
                    frame_pose,
                    person_stride,
                    rival,
                    num_persons,
                    row,
                    x,
                    radius,
                    decay,
                    JOINTS_COMPETE,
                )
            wins = (value > earlier) & (value >= later) & (row < height) & (x < width)
            at = row.to(tl.int64) * row_stride + x.to(tl.int64) * column_stride
            weight = value * tl.load(source + at, mask=wins, other=0.0).to(tl.float32)
            sum_x += weight * (x.to(tl.float32) - centre_x)
            sum_y += weight * (row.to(tl.float32) - centre_y)
            sum_score += weight
    tl.store(result + mark * 3, tl.sum(sum_x) * inverse_variance)
    tl.store(result + mark * 3 + 1, tl.sum(sum_y) * inverse_variance)
    tl.store(result + mark * 3 + 2, tl.sum(sum_score) / tl.where(drawn, score, 1.0))


@triton.jit
def limb_gradients(
    keypoints,  # float32 [B, M, T, V, 3]
    limbs,  # int32 [L, 2]
    gradient,  # [B, L, T, H, W] of the strides
    result,  # float32 [B, M, T, V, 3]
    clip_stride,
    channel_stride,
    frame_stride,
    row_stride,
    column_stride,
    num_marks,
    num_persons,
    num_frames,
    num_joints,
    num_limbs,
    height,
    width,
    radius,
    decay,
    inverse_variance,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    mark = program_index()
    if mark >= num_marks:
        return
    clip, person, frame, joint = mark_position(mark, num_persons, num_frames, num_joints)
    frame_pose, person_stride = poses_of(keypoints, clip, frame, num_persons, num_frames, num_joints)
    pose = frame_pose + person * person_stride

    sum_x = tl.zeros([ROWS, COLUMNS], tl.float32)
    sum_y = tl.zeros([ROWS, COLUMNS], tl.float32)
    sum_score = tl.zeros([ROWS, COLUMNS], tl.float32)
    for limb in range(num_limbs):
        joint_a = tl.load(limbs + limb * 2)
        joint_b = tl.load(limbs + limb * 2 + 1)
        if (joint_a == joint) | (joint_b == joint):
            ax, ay, bx, by, score, drawn, short = load_limb(pose, joint_a, joint_b)
            x_first, x_last = pixel_range(tl.minimum(ax, bx), tl.maximum(ax, bx), radius, width, drawn)
            y_first, y_last = pixel_range(tl.minimum(ay, by), tl.maximum(ay, by), radius, height, drawn)
            ux, uy, length = segment_axis(ax, ay, bx, by)
            ux_single, uy_single, length_single = ux.to(tl.float32), uy.to(tl.float32), length.to(tl.float32)
            is_a = joint_a == joint
            to_score = end_score(pose, joint_a, joint_b, is_a, score, drawn, short)
            source = (
                gradient
                + clip * clip_stride
                + tl.cast(limb, tl.int64) * channel_stride
                + frame * frame_stride
            )
            for top in range(y_first, y_last + 1, ROWS):
                for left in range(x_first, x_last + 1, COLUMNS):
                    row = top + tl.arange(0, ROWS)[:, None]
                    x = left + tl.arange(0, COLUMNS)[None, :]
                    along, across = along_and_across(row, x, top, ax, ay, ux, uy)
                    beyond = past_the_ends(along, length_single)
                    value = score * tl.exp2(decay * (across * across + beyond * beyond))
                    value = tl.where(limb_window(row, x, ax, ay, bx, by, radius), value, 0.0)
                    earlier = tl.zeros([ROWS, COLUMNS], tl.float32)
                    for rival in range(person):
                        rival_pose = frame_pose + rival * person_stride
                        earlier = raise_to_limb(
                            earlier, rival_pose, joint_a, joint_b, row, x, top, radius, decay
                        )
                    later = tl.zeros([ROWS, COLUMNS], tl.float32)
                    for rival in range(person + 1, num_persons):
                        rival_pose = frame_pose + rival * person_stride
                        later = raise_to_limb(later, rival_pose, joint_a, joint_b, row, x, top, radius, decay)
                    wins = (value > earlier) & (value >= later) & (row < height) & (x < width)
                    at = row.to(tl.int64) * row_stride + x.to(tl.int64) * column_stride
                    weight = value * tl.load(source + at, mask=wins, other=0.0).to(tl.float32)
                    to_x, to_y = end_offset(along, across, length_single, ux_single, uy_single, is_a)
                    sum_x += weight * to_x
                    sum_y += weight * to_y
                    sum_score += weight * to_score
    tl.store(result + mark * 3, tl.sum(sum_x) * inverse_variance)
    tl.store(result + mark * 3 + 1, tl.sum(sum_y) * inverse_variance)
    tl.store(result + mark * 3 + 2, tl.sum(sum_score))


def render_backward(
    gradient: Tensor, keypoints: Tensor, sigma: float, mode: HeatmapMode, limbs: list[int]
) -> Tensor:
    """Return float32 [B, M, T, V, 3] from the gradient [B, C, T, H, W] of the maps, of any strides."""
    keypoints = dense_keypoints(keypoints)
    result = torch.empty_like(keypoints)
    if gradient.numel() == 0 or keypoints.numel() == 0:
        return result.zero_()
    _, num_persons, num_frames, num_joints, _ = keypoints.shape
    height, width = gradient.shape[3:]
    num_marks = keypoints.numel() // 3
    side = min(max(triton.next_power_of_2(min(int(6 * sigma) + 2, height, width)), 8), 32)
    sizes = (height, width, 3 * sigma, -LOG2_E / (2 * sigma * sigma), 1 / (sigma * sigma))
    if mode == "limb":
        side = max(side, 16)
        launch(
            limb_gradients, grid(num_marks),
            keypoints, limb_table(tuple(limbs), keypoints.device), gradient, result, *gradient.stride(),
            num_marks, num_persons, num_frames, num_joints, len(limbs) // 2, *sizes,
            ROWS=side, COLUMNS=side, num_warps=4 if side == 32 else 1, enable_fp_fusion=False,
        )  # fmt: skip
    else:
        launch(
            joint_gradients, grid(num_marks),
            keypoints, gradient, result, *gradient.stride(),
            num_marks, num_persons, num_frames, num_joints, *sizes,
            GRAYSCALE=mode != "heatmap", JOINTS_COMPETE=mode == "grayscale_max",
            ROWS=side, COLUMNS=side, num_warps=4 if side == 32 else 1, enable_fp_fusion=False,
        )  # fmt: skip
    return result
