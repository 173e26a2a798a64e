"""Triton kernels of the stem: what all of them share, the convolution, and its launch.

The convolution is bound by writing its result, so every program owns a tile of it, [ROWS, COLUMNS, OUTPUTS] of
one frame, and writes each element once. It looks for the joints or limbs whose windows reach the tile; the
others cost it one comparison. A joint is a product of a column and a row: its rows are convolved along x first,
then along y. Where windows of several persons meet, and for limbs, pixels are added one by one.
Lanes of a warp are outputs, neighbours in memory, so the tile's pixels are registers and what depends on pixels
alone is computed once for all columns or rows that share it.
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
    joint_value,
    limb_table,
    limb_value,
    load_joint,
    load_limb,
    poses_of,
    profile,
    program_index,
)
from fastpose.ops.heatmap.kernels_gradient import pixel_range
from fastpose.ops.heatmap.modes import HeatmapMode
from fastpose.ops.launch import launch

MAX_OUTPUTS = 32  # of a program
MAX_ROWS, MAX_COLUMNS = 8, 4  # of a tile, in pixels
REGISTERS = {"heatmap": 128, "grayscale_sum": 128, "limb": 160}  # of a lane, at most: as few as spill nothing


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
def add_product(
    tile,  # [ROWS, COLUMNS, OUTPUTS]
    filters,  # [KH, KW, OUT_CHANNELS]
    rows,  # KH of [ROWS, 1, 1]: a factor of the pixels that outputs see through the kernel's rows
    columns,  # KW of [1, COLUMNS, 1]
    top, first_y, last_y, output,
    KH: tl.constexpr, KW: tl.constexpr, ROW_SPAN: tl.constexpr, OUT_CHANNELS: tl.constexpr,
):  # fmt: skip
    """Return ``tile`` and the convolution of a product of rows, which are 0 outside first..last, and columns."""
    for ky in tl.static_range(KH):
        if (top + ky <= last_y) & (top + ky + ROW_SPAN > first_y):
            line = tl.zeros_like(columns[0] * output)
            for kx in tl.static_range(KW):
                tap = filters + (ky * KW + kx) * OUT_CHANNELS + output
                line += columns[kx] * tl.load(tap, mask=output < OUT_CHANNELS, other=0.0)
            tile += rows[ky] * line
    return tile


@triton.jit
def add_joint(
    tile, filters, pose, joint, first_x, last_x, first_y, last_y, decay, top, row, column, output,
    KH: tl.constexpr, KW: tl.constexpr, ROW_SPAN: tl.constexpr, OUT_CHANNELS: tl.constexpr,
):  # fmt: skip
    """Return ``tile`` and the convolution of a joint whose window no other person's meets."""
    centre_x, centre_y, score, _drawn = load_joint(pose, joint)
    rows, columns = (), ()
    for ky in tl.static_range(KH):
        rows = rows + (score * profile(row + ky, centre_y, first_y, last_y, decay),)  # noqa: RUF005
    for kx in tl.static_range(KW):
        columns = columns + (profile(column + kx, centre_x, first_x, last_x, decay),)  # noqa: RUF005
    return add_product(
        tile, filters, rows, columns, top, first_y, last_y, output, KH, KW, ROW_SPAN, OUT_CHANNELS
    )


@triton.jit
def add_rows(
    tile, filters, frame_pose, person_stride, person, num_persons, limbs, mark, first_y, last_y, radius, decay,
    height, width, top, row, column, output,
    LIMBS: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, ROW_SPAN: tl.constexpr,
    OUT_CHANNELS: tl.constexpr,
):  # fmt: skip
    """Return ``tile`` and the convolution of the pixels of rows first..last that are this person's, row by row."""
    for y in range(first_y, last_y + 1):
        rows, columns = (), ()
        for ky in tl.static_range(KH):
            rows = rows + ((row + ky == y).to(tl.float32),)  # noqa: RUF005
        for kx in tl.static_range(KW):
            value = owned_value(
                frame_pose, person_stride, person, num_persons, limbs, mark, y, column + kx, radius, decay,
                height, width, LIMBS,
            )  # fmt: skip
            columns = columns + (value,)  # noqa: RUF005
        tile = add_product(tile, filters, rows, columns, top, y, y, output, KH, KW, ROW_SPAN, OUT_CHANNELS)
    return tile


@triton.jit
def convolve_maps(
    keypoints,  # float32 [B, M, T, V, 3]
    limbs,  # int32 [L, 2]; LIMBS only
    weight,  # float32 [C, KT, KH, KW, OUT_CHANNELS]
    out,  # [B, OUT_FRAMES, OUT_HEIGHT, OUT_WIDTH, OUT_CHANNELS]
    num_tiles,
    num_persons,
    num_frames,
    num_joints,
    num_marks,  # joints or limbs
    height,
    width,
    radius,
    decay,  # of exp2
    OUT_FRAMES: tl.constexpr,  # constants, as 64-bit divisions by others are dear for so small a tile
    OUT_HEIGHT: tl.constexpr,
    OUT_WIDTH: tl.constexpr,
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
    MARKS: tl.constexpr,  # power of two, at least the number of marks
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    OUTPUTS: tl.constexpr,
):
    place = program_index()
    if place >= num_tiles:
        return
    column_tiles: tl.constexpr = (OUT_WIDTH + COLUMNS - 1) // COLUMNS
    output_tiles: tl.constexpr = (OUT_CHANNELS + OUTPUTS - 1) // OUTPUTS
    row_tiles: tl.constexpr = (OUT_HEIGHT + ROWS - 1) // ROWS
    first_output = (place % output_tiles).to(tl.int32) * OUTPUTS
    left = (place // output_tiles % column_tiles).to(tl.int32) * COLUMNS
    image = place // output_tiles // column_tiles // row_tiles
    top = (place // output_tiles // column_tiles % row_tiles).to(tl.int32) * ROWS
    clip = image // OUT_FRAMES
    out_frame = (image % OUT_FRAMES).to(tl.int32)

    output = first_output + tl.arange(0, OUTPUTS)[None, None, :]
    row = (top + tl.arange(0, ROWS)[:, None, None]) * SY - PY
    column = (left + tl.arange(0, COLUMNS)[None, :, None]) * SX - PX
    seen_y = top * SY - PY  # the pixels of the maps that the tile sees
    seen_x = left * SX - PX
    ROW_SPAN: tl.constexpr = (ROWS - 1) * SY + 1
    seen_y_last = seen_y + ROW_SPAN + KH - 2
    seen_x_last = seen_x + (COLUMNS - 1) * SX + KW - 1

    mark = tl.arange(0, MARKS)
    known = tl.minimum(mark, num_marks - 1)
    tile = tl.zeros([ROWS, COLUMNS, OUTPUTS], tl.float32)
    for kt in range(KT):
        frame = out_frame * ST + kt - PT
        if (frame >= 0) & (frame < num_frames):
            frame_pose, person_stride = poses_of(keypoints, clip, frame, num_persons, num_frames, num_joints)
            reaches = mark < 0
            for person in range(num_persons):
                x_first, x_last, y_first, y_last = mark_window(
                    frame_pose + person * person_stride, limbs, known, radius, height, width, LIMBS
                )
                near = (x_first <= seen_x_last) & (x_last >= seen_x)
                reaches = reaches | (near & (y_first <= seen_y_last) & (y_last >= seen_y))
            reaches = reaches & (mark < num_marks)
            current = tl.min(tl.where(reaches, mark, MARKS))
            while current < MARKS:
                channel = 0 if GRAYSCALE else current
                volume = tl.cast(channel, tl.int64) * KT + kt
                filters = weight + volume * (KH * KW * OUT_CHANNELS)
                for person in range(num_persons):
                    pose = frame_pose + person * person_stride
                    x_first, x_last, y_first, y_last = mark_window(
                        pose, limbs, current, radius, height, width, LIMBS
                    )
                    first_y, last_y = tl.maximum(y_first, seen_y), tl.minimum(y_last, seen_y_last)
                    if (x_first <= seen_x_last) & (x_last >= seen_x) & (first_y <= last_y):
                        if is_product(
                            frame_pose, person_stride, person, num_persons, current, x_first, x_last,
                            y_first, y_last, radius, height, width, LIMBS,
                        ):  # fmt: skip
                            tile = add_joint(
                                tile, filters, pose, current, x_first, x_last, y_first, y_last, decay, seen_y,
                                row, column, output, KH, KW, ROW_SPAN, OUT_CHANNELS,
                            )  # fmt: skip
                        else:
                            tile = add_rows(
                                tile, filters, frame_pose, person_stride, person, num_persons, limbs, current,
                                first_y, last_y, radius, decay, height, width, seen_y, row, column, output,
                                LIMBS, KH, KW, ROW_SPAN, OUT_CHANNELS,
                            )  # fmt: skip
                current = tl.min(tl.where(reaches & (mark > current), mark, MARKS))

    start = ((image * OUT_HEIGHT + top) * OUT_WIDTH + left) * OUT_CHANNELS
    out_row = tl.arange(0, ROWS)[:, None, None]
    out_column = tl.arange(0, COLUMNS)[None, :, None]
    offset = (out_row.to(tl.int64) * OUT_WIDTH + out_column) * OUT_CHANNELS + output
    inside = (top + out_row < OUT_HEIGHT) & (left + out_column < OUT_WIDTH) & (output < OUT_CHANNELS)
    tl.store(out + start + offset, tile.to(out.dtype.element_ty), mask=inside)


def power_of_two(size: int, largest: int) -> int:
    return min(triton.next_power_of_2(size), largest)


def geometry(
    kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], mode: HeatmapMode
) -> dict[str, int | bool]:
    """Return the constants of the kernels."""
    names = ("KT", "KH", "KW", "ST", "SY", "SX", "PT", "PY", "PX")
    constants = dict(zip(names, (*kernel, *stride, *padding), strict=True))
    return constants | {"LIMBS": mode == "limb", "GRAYSCALE": mode == "grayscale_sum"}


def outputs_last(weight: Tensor) -> Tensor:
    """Map [O, C, kT, kH, kW] → float32 [C, kT, kH, kW, O]."""
    return weight.to(torch.float32).permute(1, 2, 3, 4, 0).contiguous()


def tile_constants(out: Tensor, num_marks: int) -> dict[str, int]:
    """Return the constants of a convolution that writes ``out`` [B, O, T', H', W']."""
    _, channels, frames, height, width = out.shape
    return {
        "OUT_FRAMES": frames,
        "OUT_HEIGHT": height,
        "OUT_WIDTH": width,
        "OUT_CHANNELS": channels,
        "MARKS": triton.next_power_of_2(num_marks),
        "ROWS": power_of_two(height, MAX_ROWS),
        "COLUMNS": power_of_two(width, MAX_COLUMNS),
        "OUTPUTS": power_of_two(channels, MAX_OUTPUTS),
    }


def convolve(
    keypoints: Tensor,  # [B, M, T, V, 3]
    weight: Tensor,  # [O, C, kT, kH, kW]
    out: Tensor,  # [B, O, T', H', W'], channels_last_3d
    size: Sequence[int],
    sigma: float,
    mode: HeatmapMode,
    limbs: list[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> None:
    """Fill ``out``; arguments as the operator's."""
    if out.numel() == 0:
        return
    if keypoints.numel() == 0:
        out.zero_()
        return
    keypoints = dense_keypoints(keypoints)
    _, num_persons, num_frames, num_joints, _ = keypoints.shape
    num_clips, out_channels, out_frames, out_height, out_width = out.shape
    num_marks = len(limbs) // 2 if mode == "limb" else num_joints
    constants = tile_constants(out, num_marks)
    num_tiles = num_clips * out_frames
    for side, tile in ((out_height, "ROWS"), (out_width, "COLUMNS"), (out_channels, "OUTPUTS")):
        num_tiles *= triton.cdiv(side, constants[tile])
    launch(
        convolve_maps, grid(num_tiles),
        keypoints, limb_table(tuple(limbs), keypoints.device), outputs_last(weight), out, num_tiles, num_persons,
        num_frames, num_joints, num_marks, *size, 3 * sigma,
        -LOG2_E / (2 * sigma * sigma),
        **constants, **geometry(weight.shape[2:], stride, padding, mode), num_warps=1,
        maxnreg=REGISTERS[mode], enable_fp_fusion=True,
    )  # fmt: skip
