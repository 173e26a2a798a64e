"""The Triton kernel of the stem: the convolution of maps that are not drawn, and its launch.

A program owns a block of one frame, COLUMNS wide, and 32 of its outputs, and goes down it in strips of ROWS rows,
whose sums stay in registers and are written once. Lanes first look for the joints (or limbs) that reach each strip;
where none does, zeros are written. A joint's maps are convolved row by row of pixels, as a product of matrices:
[COLUMNS, TAPS] of what outputs see through the kernel's columns, times [TAPS, OUTPUTS] of each of the kernel's rows.
A joint's row is its column profile times a number. Where windows of several persons meet, and for limbs, a row is
the maximum over persons.

The matrix units take operands of 11 significant bits (TF32) and sum in float32. Results of 16 bits are made of
operands rounded to that; float32 results of operands in two such parts, which leaves out products of two low parts
(under 2^-20 of the value).

kernels_filters.py says in which order lanes hold filters, pixels and sums.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastpose.ops.heatmap.kernels import (
    LOG2_E,
    MAX_PROGRAMS,
    MAX_UNROLLED_PERSONS,
    dense_keypoints,
    grid,
    limb_table,
    poses_of,
    profile,
    program_index,
)
from fastpose.ops.heatmap.kernels_gradient import pixel_range
from fastpose.ops.heatmap.modes import HeatmapMode
from fastpose.ops.launch import launch
from fastpose.ops.stem.kernels import geometry, power_of_two
from fastpose.ops.stem.kernels_filters import (
    COLUMNS,
    OUTPUTS,
    arranged_filters,
    cut_to_tf32,
    load_lines,
    round_to_tf32,
)
from fastpose.ops.stem.kernels_marks import find_marks, largest_values, rows_of_all

MAX_ROWS = 8  # of a tile
MAX_ROWS_OF_MUCH = 4  # of operands in two parts, or of a maximum over persons: they take registers
MAX_STRIPS = 4
MAX_HELD_TAPS = 64  # of one joint's filters, kept in registers
MAX_LANE_ENTRIES = 256  # more marks of single persons cost registers
REGISTERS = 255  # of a lane, at most


@triton.jit
def add_row(
    tiles,  # ROWS of [COLUMNS, OUTPUTS]
    values,  # [COLUMNS * TAPS] of a row of pixels, in the order of lanes
    lines,  # KH of (high [TAPS, OUTPUTS], low), if they are held
    filters,
    STEP: tl.constexpr,  # rows of pixels below the tile's first
    ROWS: tl.constexpr, KH: tl.constexpr, SY: tl.constexpr, TAPS: tl.constexpr, PARTS: tl.constexpr,
    HELD: tl.constexpr,
):  # fmt: skip
    """Return ``tiles`` and the convolution of a row of pixels."""
    seen = values.reshape(TAPS // 8, 8, 4, 2, 2).permute(3, 1, 0, 4, 2).reshape(COLUMNS, TAPS)
    if PARTS == 2:
        high = cut_to_tf32(seen)  # finite, as a rounded one might not be
        low = round_to_tf32(seen - high)
    else:
        high = round_to_tf32(seen)
    sums = ()
    for row in tl.static_range(ROWS):
        tile = tiles[row]
        if STEP - row * SY >= 0 and STEP - row * SY < KH:
            if HELD:
                line = lines[STEP - row * SY]
            else:
                line = load_lines(filters, STEP - row * SY, KH, TAPS, PARTS)
            if PARTS == 2:
                tile = tl.dot(low, line[0], tile, input_precision="tf32")
                tile = tl.dot(high, line[1], tile, input_precision="tf32")
            tile = tl.dot(high, line[0], tile, input_precision="tf32")
        sums = sums + (tile,)  # noqa: RUF005
    return sums


@triton.jit
def add_mark(
    tiles, filters, entry, frame_pose, person_stride, num_persons, limbs, radius, decay, height, width, x, seen_x,
    seen_x_last, seen_y,
    LIMBS: tl.constexpr, PERSONS: tl.constexpr, ROWS: tl.constexpr, KH: tl.constexpr, SY: tl.constexpr,
    TAPS: tl.constexpr, PARTS: tl.constexpr, HELD: tl.constexpr,
):  # fmt: skip
    """Return ``tiles`` and the convolution of what an entry draws."""
    lines = ()
    if HELD:
        for ky in tl.static_range(KH):
            lines = lines + (load_lines(filters, ky, KH, TAPS, PARTS),)  # noqa: RUF005
    every = (entry & 1) == 1
    if PERSONS == 0:
        mark = entry >> 1
        first, last = rows_of_all(
            frame_pose, person_stride, num_persons, limbs, mark, radius, height, width, seen_x, seen_x_last,
            LIMBS,
        )  # fmt: skip
    else:
        mark = (entry >> 1) // PERSONS
        joint = frame_pose + ((entry >> 1) % PERSONS) * person_stride + mark * 3
        # Whoever reaches the tile is drawn; of those whose windows meet, values are computed apart.
        centre_x, centre_y, score = tl.load(joint), tl.load(joint + 1), tl.load(joint + 2)
        x_first, x_last = pixel_range(centre_x, centre_x, radius, width, True)
        first, last = pixel_range(centre_y, centre_y, radius, height, True)
        columns = score * profile(x, centre_x, x_first, x_last, decay)
        if PERSONS > 1:  # noqa: SIM102 - read by the compiler, the other by the kernel
            if every:
                first, last = rows_of_all(
                    frame_pose, person_stride, num_persons, limbs, mark, radius, height, width, seen_x,
                    seen_x_last, LIMBS,
                )  # fmt: skip
    first_step, last_step = first - seen_y, last - seen_y
    for step in tl.static_range((ROWS - 1) * SY + KH):
        if (first_step <= step) & (last_step >= step):
            y = seen_y + step
            if PERSONS == 0:
                values = largest_values(
                    frame_pose, person_stride, num_persons, limbs, mark, y, x, radius, decay, width, LIMBS
                )
            else:
                distance = tl.cast(seen_y, tl.float32) + step - centre_y
                values = columns * tl.exp2(decay * (distance * distance))
                if PERSONS > 1:  # noqa: SIM102
                    if every:
                        values = largest_values(
                            frame_pose, person_stride, num_persons, limbs, mark, y, x, radius, decay, width,
                            LIMBS,
                        )  # fmt: skip
            tiles = add_row(tiles, values, lines, filters, step, ROWS, KH, SY, TAPS, PARTS, HELD)
    return tiles


@triton.jit
def add_entries(
    tiles,
    filters,  # of the first channel
    channel_stride, entry, entries, frame_pose, person_stride, num_persons, limbs, radius, decay, height, width, x,
    seen_x, seen_x_last, seen_y,
    LIMBS: tl.constexpr, GRAYSCALE: tl.constexpr, PERSONS: tl.constexpr, ENTRIES: tl.constexpr,
    ROWS: tl.constexpr, KH: tl.constexpr, SY: tl.constexpr, TAPS: tl.constexpr, PARTS: tl.constexpr,
    HELD: tl.constexpr,
):  # fmt: skip
    """Return ``tiles`` and the convolution of the entries below 2 * ENTRIES, of which ``entry`` is the first."""
    while entry < 2 * ENTRIES:
        channel = 0 if GRAYSCALE else (entry >> 1) // max(PERSONS, 1)
        tiles = add_mark(
            tiles, filters + tl.cast(channel, tl.int64) * channel_stride, entry, frame_pose, person_stride,
            num_persons, limbs, radius, decay, height, width, x, seen_x, seen_x_last, seen_y, LIMBS, PERSONS,
            ROWS, KH, SY, TAPS, PARTS, HELD,
        )  # fmt: skip
        entry = tl.min(tl.where(entries > entry, entries, 2 * ENTRIES))
    return tiles


@triton.jit
def no_sums(ROWS: tl.constexpr):
    """Return the sums of a strip to which nothing was added."""
    tiles = ()
    for _ in tl.static_range(ROWS):
        tiles = tiles + (tl.zeros([COLUMNS, OUTPUTS], tl.float32),)  # noqa: RUF005
    return tiles


@triton.jit
def store_tiles(
    out,  # of the strip's first element
    tiles, rows_left, columns_left, outputs_left,
    ROWS: tl.constexpr, OUT_HEIGHT: tl.constexpr, OUT_WIDTH: tl.constexpr, OUT_CHANNELS: tl.constexpr,
):  # fmt: skip
    column = tl.arange(0, COLUMNS)[:, None]
    output = tl.arange(0, OUTPUTS)[None, :]
    for row in tl.static_range(ROWS):
        inside = column < columns_left
        if OUT_HEIGHT % ROWS != 0:
            inside = column < tl.where(rows_left > row, columns_left, 0)
        if (OUTPUTS + OUT_CHANNELS) % OUTPUTS != 0:
            inside = inside & (output < outputs_left)
        tile = tiles[row].reshape(COLUMNS, 4, 4, 2).permute(0, 2, 1, 3).reshape(COLUMNS, OUTPUTS)
        start = tl.cast(row, tl.int64) * (OUT_WIDTH * OUT_CHANNELS)
        target = out + start + (column * OUT_CHANNELS + output)
        tl.store(target, tile.to(out.dtype.element_ty), mask=inside)


@triton.jit
def convolve_maps(
    keypoints,  # float32 [B, M, T, V, 3]
    limbs,  # int32 [L, 2]; LIMBS only
    filters,  # of arrange_filters
    pixels,  # likewise
    out,  # [B, OUT_FRAMES, OUT_HEIGHT, OUT_WIDTH, OUT_CHANNELS]
    num_blocks,
    num_persons,
    num_frames,
    num_joints,
    num_marks,  # joints or limbs
    height,
    width,
    radius,
    decay,  # of exp2
    OUT_FRAMES: tl.constexpr,
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
    PERSONS: tl.constexpr,  # their number if they are few and draw joints, else 0
    ENTRIES: tl.constexpr,  # power of two, at least the number of marks of PERSONS
    ROWS: tl.constexpr,
    STRIPS: tl.constexpr,
    TAPS: tl.constexpr,  # power of two, at least 8 and KW
    PARTS: tl.constexpr,
    HELD: tl.constexpr,  # whether an entry's filters are kept in registers
    WIDE: tl.constexpr,  # whether blocks count beyond 32 bits, where divisions are dear
):
    place = program_index() if WIDE else tl.program_id(0)
    if place >= num_blocks:
        return
    column_tiles: tl.constexpr = (OUT_WIDTH + COLUMNS - 1) // COLUMNS
    output_tiles: tl.constexpr = (OUT_CHANNELS + OUTPUTS - 1) // OUTPUTS
    row_blocks: tl.constexpr = (OUT_HEIGHT + ROWS * STRIPS - 1) // (ROWS * STRIPS)
    SPAN: tl.constexpr = (ROWS - 1) * SY + KH
    output_tile = (place % output_tiles).to(tl.int32)
    left = (place // output_tiles % column_tiles).to(tl.int32) * COLUMNS
    block_top = (place // output_tiles // column_tiles % row_blocks).to(tl.int32) * (ROWS * STRIPS)
    image = (place // output_tiles // column_tiles // row_blocks).to(tl.int64)
    clip = image // OUT_FRAMES
    out_frame = (image % OUT_FRAMES).to(tl.int32)

    seen_x = left * SX - PX  # the pixels of the maps that the block sees
    seen_x_last = seen_x + (COLUMNS - 1) * SX + KW - 1
    x = seen_x + tl.load(pixels + tl.arange(0, COLUMNS * TAPS))
    out += ((image * OUT_HEIGHT + block_top) * OUT_WIDTH + left) * OUT_CHANNELS + output_tile * OUTPUTS
    columns_left, outputs_left = OUT_WIDTH - left, OUT_CHANNELS - output_tile * OUTPUTS
    VOLUME: tl.constexpr = output_tiles * PARTS * KH * TAPS * OUTPUTS
    filters += output_tile * (PARTS * KH * TAPS * OUTPUTS)
    if KT == 1:
        frame = out_frame * ST - PT
        known = tl.minimum(tl.maximum(frame, 0), num_frames - 1)
        frame_pose, person_stride = poses_of(keypoints, clip, known, num_persons, num_frames, num_joints)
        marks, reached = find_marks(
            frame_pose, person_stride, num_persons, limbs, num_marks, radius, height, width, seen_x, seen_x_last,
            block_top * SY - PY, LIMBS, PERSONS, ENTRIES, STRIPS, ROWS * SY, SPAN,
        )  # fmt: skip
        reached = tl.where(frame == known, reached, 0)
    for strip in range(tl.minimum((OUT_HEIGHT - block_top + ROWS - 1) // ROWS, STRIPS)):
        top = block_top + strip * ROWS
        seen_y = top * SY - PY
        rows_left = OUT_HEIGHT - top
        if KT == 1:
            entries = tl.where((reached >> strip) % 2 == 1, marks, 2 * ENTRIES)
            entry = tl.min(entries)
            if entry >= 2 * ENTRIES:
                tiles = no_sums(ROWS)
                store_tiles(
                    out, tiles, rows_left, columns_left, outputs_left, ROWS, OUT_HEIGHT, OUT_WIDTH, OUT_CHANNELS
                )  # fmt: skip
            else:
                tiles = add_entries(
                    no_sums(ROWS), filters, VOLUME, entry, entries, frame_pose, person_stride, num_persons, limbs,
                    radius, decay, height, width, x, seen_x, seen_x_last, seen_y, LIMBS, GRAYSCALE, PERSONS,
                    ENTRIES, ROWS, KH, SY, TAPS, PARTS, HELD,
                )  # fmt: skip
                store_tiles(
                    out, tiles, rows_left, columns_left, outputs_left, ROWS, OUT_HEIGHT, OUT_WIDTH, OUT_CHANNELS
                )  # fmt: skip
        else:
            tiles = no_sums(ROWS)
            for kt in range(KT):
                frame = out_frame * ST + kt - PT
                if (frame >= 0) & (frame < num_frames):
                    frame_pose, person_stride = poses_of(
                        keypoints, clip, frame, num_persons, num_frames, num_joints
                    )
                    marks, reached = find_marks(
                        frame_pose, person_stride, num_persons, limbs, num_marks, radius, height, width, seen_x,
                        seen_x_last, seen_y, LIMBS, PERSONS, ENTRIES, 1, 1, SPAN,
                    )  # fmt: skip
                    entries = tl.where(reached == 1, marks, 2 * ENTRIES)
                    tiles = add_entries(
                        tiles, filters + kt * VOLUME, KT * VOLUME, tl.min(entries), entries, frame_pose,
                        person_stride, num_persons, limbs, radius, decay, height, width, x, seen_x, seen_x_last,
                        seen_y, LIMBS, GRAYSCALE, PERSONS, ENTRIES, ROWS, KH, SY, TAPS, PARTS, HELD,
                    )  # fmt: skip
            store_tiles(
                out, tiles, rows_left, columns_left, outputs_left, ROWS, OUT_HEIGHT, OUT_WIDTH, OUT_CHANNELS
            )  # fmt: skip
        out += ROWS * OUT_WIDTH * OUT_CHANNELS


def convolution_constants(
    out: Tensor, num_persons: int, num_marks: int, kernel: Sequence[int], mode: HeatmapMode
) -> dict[str, int]:
    """Return the constants of a convolution that writes ``out`` [B, O, T', H', W'], but those of ``geometry``."""
    _, channels, frames, height, width = out.shape
    parts = 2 if out.dtype == torch.float32 else 1
    few = num_persons <= MAX_UNROLLED_PERSONS and num_persons * num_marks <= MAX_LANE_ENTRIES
    persons = num_persons if few and mode != "limb" else 0
    rows = power_of_two(height, MAX_ROWS if parts == 1 and persons > 0 else MAX_ROWS_OF_MUCH)
    taps = max(triton.next_power_of_2(kernel[2]), 8)
    return {
        "OUT_FRAMES": frames,
        "OUT_HEIGHT": height,
        "OUT_WIDTH": width,
        "OUT_CHANNELS": channels,
        "PERSONS": persons,
        "ENTRIES": triton.next_power_of_2(max(persons, 1) * num_marks),
        "ROWS": rows,
        "STRIPS": min(triton.cdiv(height, rows), MAX_STRIPS),
        "TAPS": taps,
        "PARTS": parts,
        "HELD": persons > 0 and kernel[1] * taps <= MAX_HELD_TAPS,
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
    constants = convolution_constants(out, num_persons, num_marks, weight.shape[2:], mode)
    num_blocks = num_clips * out_frames * triton.cdiv(out_height, constants["ROWS"] * constants["STRIPS"])
    num_blocks *= triton.cdiv(out_width, COLUMNS.value) * triton.cdiv(out_channels, OUTPUTS.value)
    filters, pixels = arranged_filters(weight, constants, stride[2])
    launch(
        convolve_maps, grid(num_blocks),
        keypoints, limb_table(tuple(limbs), keypoints.device), filters, pixels, out, num_blocks, num_persons,
        num_frames, num_joints, num_marks, *size, 3 * sigma, -LOG2_E / (2 * sigma * sigma),
        **constants, **geometry(weight.shape[2:], stride, padding, mode), WIDE=num_blocks > MAX_PROGRAMS,
        num_warps=1, maxnreg=REGISTERS, enable_fp_fusion=True,
    )  # fmt: skip
