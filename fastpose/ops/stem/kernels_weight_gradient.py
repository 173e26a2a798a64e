"""Triton kernels for the gradient of the stem's weight, and their launch.

A program owns [KH, KW, OUTPUTS] of the gradient for one channel and one frame of the kernel, and sums over the
windows of a fixed share of the frames; the shares are added up afterwards. Nothing is atomic and no order of
sums depends on the launch, so results are bitwise identical on every run. As in the convolution, lanes of a
warp are outputs.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastpose.ops.heatmap.kernels import (
    LOG2_E,
    dense_keypoints,
    grid,
    limb_table,
    load_joint,
    poses_of,
    profile,
    program_index,
)
from fastpose.ops.heatmap.modes import HeatmapMode
from fastpose.ops.launch import ceil_div, launch
from fastpose.ops.stem.kernels import geometry, mark_value, mark_window, power_of_two

MAX_OUTPUTS = 32  # of a program
MAX_SHARES = 256  # of the frames
MIN_SHARE = 4  # frames
REGISTERS = 192  # of a lane, at most: as few as spill nothing
MAX_UNROLLED = 16  # columns of the result's gradient in one step of a joint
ROW_STEP = tl.constexpr(2)  # the same where pixels are not a product, and columns share no values


@triton.jit
def is_product(
    frame_pose, person_stride, person, num_persons, mark,
    x_first, x_last, y_first, y_last, radius, height, width, LIMBS: tl.constexpr,
):  # fmt: skip
    """Return whether the map in a window is a column times a row: a joint's, that no other person's window meets."""
    if LIMBS:
        return False
    rivals = 0
    for other in range(num_persons):
        other_x, other_x_last, other_y, other_y_last = mark_window(
            frame_pose + other * person_stride, frame_pose, mark, radius, height, width, False
        )
        meets = (other_x <= x_last) & (other_x_last >= x_first)
        meets = meets & (other_y <= y_last) & (other_y_last >= y_first) & (other != person)
        rivals += meets.to(tl.int32)
    return rivals == 0


@triton.jit
def owned_value(
    frame_pose, person_stride, person, num_persons, limbs, mark, y, x, radius, decay, height, width,
    LIMBS: tl.constexpr,
):  # fmt: skip
    """Return pixels of the map, the maximum over persons, that this person is the first to have; else 0."""
    largest = tl.zeros_like(x).to(tl.float32)
    owner = tl.zeros_like(x) + num_persons
    for other in range(num_persons):
        pose = frame_pose + other * person_stride
        x_first, x_last, y_first, y_last = mark_window(pose, limbs, mark, radius, height, width, LIMBS)
        covers = (x >= x_first) & (x <= x_last) & (y >= y_first) & (y <= y_last)
        owner = tl.minimum(owner, tl.where(covers, other, num_persons))
        largest = tl.maximum(largest, mark_value(pose, limbs, mark, y, x, radius, decay, LIMBS))
    return tl.where(owner == person, largest, 0.0)


@triton.jit
def first_and_last_output(first, last, size, K: tl.constexpr, S: tl.constexpr, P: tl.constexpr):
    """Return outputs of an axis whose kernels see pixels first..last."""
    low = tl.maximum(first + P - (K - 1) + (S - 1), 0) // S
    return low, tl.minimum((last + P) // S, size - 1)


@triton.jit
def correlate_row(
    gradient,  # of the output start of a row: [W' - start, OUT_CHANNELS]
    columns,  # UNROLLED of [1, KW, 1]: what outputs from start on see through the kernel's columns
    start, last, output,
    OUT_CHANNELS: tl.constexpr, UNROLLED: tl.constexpr,
):  # fmt: skip
    """Return [1, KW, OUTPUTS]: the row's gradient times columns, over outputs start..last."""
    line = tl.zeros_like(columns[0] * output)
    for i in tl.static_range(UNROLLED):
        inside = output < tl.where(start + i <= last, OUT_CHANNELS, 0)
        value = tl.load(gradient + i * OUT_CHANNELS + output, mask=inside, other=0.0)
        line += columns[i] * value.to(tl.float32)
    return line


@triton.jit
def correlate_joint(
    sums,  # [KH, KW, OUTPUTS]
    gradient,  # [H', W', OUT_CHANNELS] of a frame
    pose, joint, first_x, last_x, first_y, last_y, decay, out_height, out_width, ky, kx, output,
    KH: tl.constexpr, KW: tl.constexpr, SY: tl.constexpr, SX: tl.constexpr, PY: tl.constexpr,
    PX: tl.constexpr, OUT_CHANNELS: tl.constexpr, UNROLLED: tl.constexpr,
):  # fmt: skip
    """Return ``sums`` and the part of a joint whose window no other person's meets."""
    centre_x, centre_y, score, _drawn = load_joint(pose, joint)
    left, right = first_and_last_output(first_x, last_x, out_width, KW, SX, PX)
    top, bottom = first_and_last_output(first_y, last_y, out_height, KH, SY, PY)
    for start in range(left, right + 1, UNROLLED):
        columns = ()
        for i in tl.static_range(UNROLLED):
            pixel = (start + i) * SX - PX + kx
            columns = columns + (profile(pixel, centre_x, first_x, last_x, decay),)  # noqa: RUF005
        for row in range(top, bottom + 1):
            source = gradient + (tl.cast(row, tl.int64) * out_width + start) * OUT_CHANNELS
            line = correlate_row(source, columns, start, right, output, OUT_CHANNELS, UNROLLED)
            sums += score * profile(row * SY - PY + ky, centre_y, first_y, last_y, decay) * line
    return sums


@triton.jit
def correlate_rows(
    sums,  # [KH, KW, OUTPUTS]
    gradient,  # [H', W', OUT_CHANNELS] of a frame
    frame_pose, person_stride, person, num_persons, limbs, mark, first_x, last_x, first_y, last_y, radius,
    decay, height, width, out_height, out_width, ky, kx, output,
    LIMBS: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SY: tl.constexpr, SX: tl.constexpr,
    PY: tl.constexpr, PX: tl.constexpr, OUT_CHANNELS: tl.constexpr,
):  # fmt: skip
    """Return ``sums`` and the part of the window's pixels that are this person's, row by row."""
    left, right = first_and_last_output(first_x, last_x, out_width, KW, SX, PX)
    for y in range(first_y, last_y + 1):
        top, bottom = first_and_last_output(y, y, out_height, KH, SY, PY)
        for start in range(left, right + 1, ROW_STEP):
            columns = ()
            for i in tl.static_range(ROW_STEP):
                value = owned_value(
                    frame_pose, person_stride, person, num_persons, limbs, mark, y, (start + i) * SX - PX + kx,
                    radius, decay, height, width, LIMBS,
                )  # fmt: skip
                columns = columns + (value,)  # noqa: RUF005
            for row in range(top, bottom + 1):
                source = gradient + (tl.cast(row, tl.int64) * out_width + start) * OUT_CHANNELS
                line = correlate_row(source, columns, start, right, output, OUT_CHANNELS, ROW_STEP)
                sums += (row * SY - PY + ky == y).to(tl.float32) * line
    return sums


@triton.jit
def correlate_maps(
    keypoints,  # float32 [B, M, T, V, 3]
    limbs,  # int32 [L, 2]; LIMBS only
    gradient,  # [B, T', H', W', OUT_CHANNELS]
    shares,  # float32 [S, C, KT, KH, KW, OUT_CHANNELS]
    num_programs,
    frames_per_share,
    all_frames,  # B * T
    num_channels,
    num_persons,
    num_frames,
    num_joints,
    height,
    width,
    out_frames,
    out_height,
    out_width,
    radius,
    decay,  # of exp2
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
    UNROLLED: tl.constexpr,
):
    place = program_index()
    if place >= num_programs:
        return
    output_tiles: tl.constexpr = (OUT_CHANNELS + OUTPUTS - 1) // OUTPUTS
    first_output = (place % output_tiles).to(tl.int32) * OUTPUTS
    volume = place // output_tiles  # of [S, C, KT]
    kt = (volume % KT).to(tl.int32)
    channel = (volume // KT % num_channels).to(tl.int32)
    share = volume // KT // num_channels

    ky = tl.arange(0, ROWS)[:, None, None]
    kx = tl.arange(0, COLUMNS)[None, :, None]
    output = first_output + tl.arange(0, OUTPUTS)[None, None, :]
    first_mark = 0 if GRAYSCALE else channel
    last_mark = num_joints - 1 if GRAYSCALE else channel
    sums = tl.zeros([ROWS, COLUMNS, OUTPUTS], tl.float32)
    first = share * frames_per_share
    for step in range(frames_per_share):
        position = (first % num_frames).to(tl.int32) + step
        clip = first // num_frames + position // num_frames
        frame = position % num_frames
        since = frame + PT - kt  # times the stride, from the first output
        out_frame = since // ST
        if (first + step < all_frames) & (since >= 0) & (out_frame * ST == since) & (out_frame < out_frames):
            frame_pose, person_stride = poses_of(keypoints, clip, frame, num_persons, num_frames, num_joints)
            source = gradient + (clip * out_frames + out_frame) * out_height * out_width * OUT_CHANNELS
            for mark in range(first_mark, last_mark + 1):
                for person in range(num_persons):
                    pose = frame_pose + person * person_stride
                    first_x, last_x, first_y, last_y = mark_window(
                        pose, limbs, mark, radius, height, width, LIMBS
                    )
                    if (first_x <= last_x) & (first_y <= last_y):
                        if is_product(
                            frame_pose, person_stride, person, num_persons, mark, first_x, last_x, first_y,
                            last_y, radius, height, width, LIMBS,
                        ):  # fmt: skip
                            sums = correlate_joint(
                                sums, source, pose, mark, first_x, last_x, first_y, last_y, decay, out_height,
                                out_width, ky, kx, output, KH, KW, SY, SX, PY, PX, OUT_CHANNELS, UNROLLED,
                            )  # fmt: skip
                        else:
                            sums = correlate_rows(
                                sums, source, frame_pose, person_stride, person, num_persons, limbs, mark,
                                first_x, last_x, first_y, last_y, radius, decay, height, width, out_height,
                                out_width, ky, kx, output, LIMBS, KH, KW, SY, SX, PY, PX, OUT_CHANNELS,
                            )  # fmt: skip
    target = shares + (volume * KH * KW + ky * KW + kx) * OUT_CHANNELS + output
    tl.store(target, sums, mask=(ky < KH) & (kx < KW) & (output < OUT_CHANNELS))


def share_of_frames(all_frames: int) -> tuple[int, int]:
    """Return (number of shares, frames of each): of the sizes alone, as the order of sums must be."""
    frames = max(ceil_div(all_frames, MAX_SHARES), MIN_SHARE)
    return ceil_div(all_frames, frames), frames


def correlation_constants(weight_shape: Sequence[int], stride: Sequence[int], sigma: float) -> dict[str, int]:
    """Return the constants beside the geometry."""
    channels, _, _, rows, columns = weight_shape
    seen = ceil_div(int(6 * sigma) + 2 + columns - 1, stride[2])  # columns of outputs that see a joint
    return {
        "OUT_CHANNELS": channels,
        "ROWS": triton.next_power_of_2(rows),
        "COLUMNS": triton.next_power_of_2(columns),
        "OUTPUTS": power_of_two(channels, MAX_OUTPUTS),
        "UNROLLED": min(seen, MAX_UNROLLED),
    }


def weight_gradient(
    gradient: Tensor,  # [B, O, T', H', W']
    keypoints: Tensor,  # [B, M, T, V, 3]
    weight_shape: Sequence[int],  # O, C, kT, kH, kW
    size: Sequence[int],
    sigma: float,
    mode: HeatmapMode,
    limbs: list[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> Tensor:
    """Return float32 [O, C, kT, kH, kW] from the result's gradient, of any strides; arguments as the operator's."""
    if gradient.numel() == 0 or keypoints.numel() == 0:
        return torch.zeros(weight_shape, dtype=torch.float32, device=gradient.device)
    keypoints = dense_keypoints(keypoints)
    gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
    num_clips, num_persons, num_frames, num_joints, _ = keypoints.shape
    num_shares, frames_per_share = share_of_frames(num_clips * num_frames)
    out_channels, channels, *kernel = weight_shape
    shares = gradient.new_empty((num_shares, channels, *kernel, out_channels), dtype=torch.float32)
    constants = correlation_constants(weight_shape, stride, sigma)
    num_programs = num_shares * channels * kernel[0] * ceil_div(out_channels, constants["OUTPUTS"])
    launch(
        correlate_maps, grid(num_programs),
        keypoints, limb_table(tuple(limbs), keypoints.device), gradient, shares, num_programs, frames_per_share,
        num_clips * num_frames, channels, num_persons, num_frames, num_joints, *size, *gradient.shape[2:],
        3 * sigma, -LOG2_E / (2 * sigma * sigma),
        **constants, **geometry(kernel, stride, padding, mode), num_warps=1, maxnreg=REGISTERS,
        enable_fp_fusion=True,
    )  # fmt: skip
    return shares.sum(0).permute(4, 0, 1, 2, 3).contiguous()
