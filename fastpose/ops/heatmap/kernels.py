"""Triton kernels that draw the maps, and their launch.

The output is bound by writing, so every program owns a tile of it and writes each element once: no zero-fill,
no atomics. A tile is [ROWS, COLUMNS] of one image in memory: [H, W] of one channel, or [H, W·C] of one frame
in channels_last_3d order, where a lane's channel is its column modulo C.
"""

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastpose.ops import presence
from fastpose.ops.heatmap.modes import HeatmapMode
from fastpose.ops.launch import launch

LOG2_E = 1.4426950408889634
MAX_PROGRAMS = 2**31 - 1  # of a grid's first axis
MAX_ROW_ELEMENTS = 2**31  # columns are 32-bit
MAX_UNROLLED_PERSONS = 4

MIN_SCORE = tl.constexpr(0.001)
MAX_SCORE = tl.constexpr(3.4028234663852886e38)
MAX_COORDINATE = tl.constexpr(presence.MAX_COORDINATE)


@triton.jit
def program_index():
    """Return the index in a grid of (any number up to MAX_PROGRAMS, as often as needed)."""
    return tl.program_id(1).to(tl.int64) * tl.num_programs(0) + tl.program_id(0)


@triton.jit
def poses_of(keypoints, clip, frame, num_persons, num_frames, num_joints):
    """Return (the first person in a frame of [B, M, T, V, 3], elements from one person to the next)."""
    person_stride = tl.cast(num_frames, tl.int64) * num_joints * 3
    return keypoints + (clip * num_persons * num_frames + frame) * num_joints * 3, person_stride


@triton.jit
def load_joint(pose, joint):
    """Return (x, y, score, whether it is drawn) of joints of one person in one frame; 0 where it is not drawn.

    Drawn are those that are present (``fastpose.ops.presence``) with a score of at least MIN_SCORE.
    """
    x = tl.load(pose + joint * 3)
    y = tl.load(pose + joint * 3 + 1)
    score = tl.load(pose + joint * 3 + 2)
    near = (tl.abs(x) <= MAX_COORDINATE) & (tl.abs(y) <= MAX_COORDINATE)
    drawn = near & (score >= MIN_SCORE) & (score <= MAX_SCORE)
    return tl.where(drawn, x, 0.0), tl.where(drawn, y, 0.0), tl.where(drawn, score, 0.0), drawn


@triton.jit
def window(low, high, radius):
    """Return the first and last pixel; conversion truncates toward zero."""
    return (low - radius).to(tl.int32), (high + radius).to(tl.int32)


@triton.jit
def profile(pixel, centre, first, last, decay):
    """Return exp2(decay · d²) inside the window."""
    distance = pixel.to(tl.float32) - centre
    value = tl.exp2(decay * (distance * distance))
    return tl.where((pixel >= first) & (pixel <= last), value, 0.0)


@triton.jit
def joint_value(row, x, centre_x, centre_y, score, radius, decay):
    """Return what a joint draws on pixels row [ROWS, 1] and x [1, COLUMNS]; 0 where its score is."""
    x_first, x_last = window(centre_x, centre_x, radius)
    y_first, y_last = window(centre_y, centre_y, radius)
    rows = score * profile(row, centre_y, y_first, y_last, decay)
    return rows * profile(x, centre_x, x_first, x_last, decay)


@triton.jit
def load_limb(pose, joint_a, joint_b):
    """Return (ax, ay, bx, by, score, whether it is drawn, whether it is short); a short limb's ends are both a."""
    ax, ay, a_score, a_drawn = load_joint(pose, joint_a)
    bx, by, b_score, b_drawn = load_joint(pose, joint_b)
    short = (bx - ax) * (bx - ax) + (by - ay) * (by - ay) < 1.0
    drawn = a_drawn & b_drawn
    score = tl.where(drawn, tl.where(short, a_score, tl.minimum(a_score, b_score)), 0.0)
    return ax, ay, tl.where(short, ax, bx), tl.where(short, ay, by), score, drawn, short


@triton.jit
def segment_axis(ax, ay, bx, by):
    """Return the unit vector from a to b and the length, float64: a far end costs no precision inside the image."""
    x = bx.to(tl.float64) - ax.to(tl.float64)
    y = by.to(tl.float64) - ay.to(tl.float64)
    length = tl.sqrt(x * x + y * y)
    is_point = length == 0.0
    scale = 1.0 / tl.where(is_point, 1.0, length)
    return tl.where(is_point, 1.0, x * scale), y * scale, length


@triton.jit
def past_the_ends(along, length):
    """Return how far beyond b (positive) or before a (negative); 0 between them."""
    return tl.where(along < 0.0, along, tl.maximum(along - length, 0.0))


@triton.jit
def along_and_across(row, x, top, ax, ay, ux, uy):
    """Return distances from a, along the unit vector and to its left, of pixels row [ROWS, 1] and x [1, COLUMNS]."""
    from_x = x.to(tl.float64) - ax
    from_y = tl.cast(top, tl.float64) - ay
    step = (row - top).to(tl.float32)
    along = (ux * from_x + uy * from_y).to(tl.float32) + uy.to(tl.float32) * step
    across = (ux * from_y - uy * from_x).to(tl.float32) + ux.to(tl.float32) * step
    return along, across


@triton.jit
def limb_window(row, x, ax, ay, bx, by, radius):
    x_first, x_last = window(tl.minimum(ax, bx), tl.maximum(ax, bx), radius)
    y_first, y_last = window(tl.minimum(ay, by), tl.maximum(ay, by), radius)
    return (x >= x_first) & (x <= x_last) & (row >= y_first) & (row <= y_last)


@triton.jit
def limb_value(row, x, top, ax, ay, bx, by, score, radius, decay):
    """Return what a segment draws on pixels row [ROWS, 1], the first of them top, and x [1, COLUMNS]."""
    ux, uy, length = segment_axis(ax, ay, bx, by)
    along, across = along_and_across(row, x, top, ax, ay, ux, uy)
    beyond = past_the_ends(along, length.to(tl.float32))
    value = score * tl.exp2(decay * (across * across + beyond * beyond))
    return tl.where(limb_window(row, x, ax, ay, bx, by, radius), value, 0.0)


@triton.jit
def raise_to_person(
    maps,  # [ROWS, COLUMNS]
    pose,
    limbs,
    channel,  # one, or of each column [1, COLUMNS]
    row,
    x,
    top,
    left,
    radius,
    decay,
    INTERLEAVED: tl.constexpr,
    LIMBS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Return the larger of ``maps`` and what one person draws there."""
    if LIMBS:
        joint_a = tl.load(limbs + channel * 2)
        joint_b = tl.load(limbs + channel * 2 + 1)
        ax, ay, bx, by, score, drawn, _short = load_limb(pose, joint_a, joint_b)
    else:
        ax, ay, score, drawn = load_joint(pose, channel)
        bx, by = ax, ay
    if (
        INTERLEAVED == 1 and not LIMBS
    ):  # a product of two profiles: no dearer than to look whether it is needed
        maps = tl.maximum(maps, joint_value(row, x, ax, ay, score, radius, decay))
    else:
        x_first, x_last = window(tl.minimum(ax, bx), tl.maximum(ax, bx), radius)
        y_first, y_last = window(tl.minimum(ay, by), tl.maximum(ay, by), radius)
        touches = drawn & (y_first < top + ROWS) & (y_last >= top)
        if INTERLEAVED == 1:
            touches = touches & (x_first < left + COLUMNS) & (x_last >= left)
        else:
            touches = tl.max((touches & (x >= x_first) & (x <= x_last)).to(tl.int32)) > 0
        if touches:
            if LIMBS:
                maps = tl.maximum(maps, limb_value(row, x, top, ax, ay, bx, by, score, radius, decay))
            else:
                maps = tl.maximum(maps, joint_value(row, x, ax, ay, score, radius, decay))
    return maps


@triton.jit
def draw_maps(
    keypoints,  # float32 [B, M, T, V, 3]
    limbs,  # int32 [L, 2]; LIMBS only
    out,
    num_tiles,
    num_persons,
    num_frames,
    num_joints,
    num_planes,  # channels that have images of their own: 1 where they are interleaved
    height,
    radius,
    decay,  # of exp2
    WIDTH: tl.constexpr,
    INTERLEAVED: tl.constexpr,  # channels within a row
    LIMBS: tl.constexpr,
    PERSONS: tl.constexpr,  # unrolled, which keeps the tile in the layout it is stored in; 0: a loop
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    tile = program_index()
    if tile >= num_tiles:
        return
    ROW_LENGTH: tl.constexpr = WIDTH * INTERLEAVED
    column_tiles: tl.constexpr = (ROW_LENGTH + COLUMNS - 1) // COLUMNS
    row_tiles = (height + ROWS - 1) // ROWS
    image = tile // (row_tiles * column_tiles)
    top = (tile // column_tiles % row_tiles).to(tl.int32) * ROWS
    left = (tile % column_tiles).to(tl.int32) * COLUMNS
    frame = image % num_frames
    clip = image // num_frames // num_planes

    row = top + tl.arange(0, ROWS)[:, None]
    column = left + tl.arange(0, COLUMNS)[None, :]
    x = column // INTERLEAVED
    if INTERLEAVED == 1:
        channel = (image // num_frames % num_planes).to(tl.int32)
    else:
        channel = column % INTERLEAVED

    maps = tl.zeros([ROWS, COLUMNS], tl.float32)
    frame_pose, person_stride = poses_of(keypoints, clip, frame, num_persons, num_frames, num_joints)
    if PERSONS > 0:
        for person in tl.static_range(PERSONS):
            maps = raise_to_person(
                maps, frame_pose + person * person_stride, limbs, channel, row, x, top, left, radius, decay,
                INTERLEAVED, LIMBS, ROWS, COLUMNS,
            )  # fmt: skip
    else:
        for person in range(num_persons):
            maps = raise_to_person(
                maps, frame_pose + person * person_stride, limbs, channel, row, x, top, left, radius, decay,
                INTERLEAVED, LIMBS, ROWS, COLUMNS,
            )  # fmt: skip

    start = (image * height + top) * ROW_LENGTH + left
    offset = tl.arange(0, ROWS)[:, None] * ROW_LENGTH + tl.arange(0, COLUMNS)[None, :]
    inside = (row < height) & (column < ROW_LENGTH)
    tl.store(out + start + offset, maps.to(out.dtype.element_ty), mask=inside)


@triton.jit
def draw_grayscale(
    keypoints,  # float32 [B, M, T, V, 3]
    out,  # [B, T, H, W]
    num_tiles,
    num_persons,
    num_frames,
    num_joints,
    height,
    radius,
    decay,
    WIDTH: tl.constexpr,
    TAKES_MAX: tl.constexpr,
    JOINTS: tl.constexpr,  # power of two, at least the number of joints
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    tile = program_index()
    if tile >= num_tiles:
        return
    column_tiles: tl.constexpr = (WIDTH + COLUMNS - 1) // COLUMNS
    row_tiles = (height + ROWS - 1) // ROWS
    image = tile // (row_tiles * column_tiles)
    top = (tile // column_tiles % row_tiles).to(tl.int32) * ROWS
    left = (tile % column_tiles).to(tl.int32) * COLUMNS
    frame = image % num_frames
    clip = image // num_frames
    row = top + tl.arange(0, ROWS)[:, None]
    x = left + tl.arange(0, COLUMNS)[None, :]

    # Few joints touch a tile: find them all at once, then draw only those.
    joint = tl.arange(0, JOINTS)
    known = tl.minimum(joint, num_joints - 1)
    touches = joint < 0
    frame_pose, person_stride = poses_of(keypoints, clip, frame, num_persons, num_frames, num_joints)
    for person in range(num_persons):
        centre_x, centre_y, _score, drawn = load_joint(frame_pose + person * person_stride, known)
        x_first, x_last = window(centre_x, centre_x, radius)
        y_first, y_last = window(centre_y, centre_y, radius)
        overlaps_x = (x_first < left + COLUMNS) & (x_last >= left)
        overlaps_y = (y_first < top + ROWS) & (y_last >= top)
        touches = touches | (drawn & overlaps_x & overlaps_y)
    touches = touches & (joint < num_joints)

    maps = tl.zeros([ROWS, COLUMNS], tl.float32)
    current = tl.min(tl.where(touches, joint, JOINTS))
    while current < JOINTS:
        merged = tl.zeros([ROWS, COLUMNS], tl.float32)
        for person in range(num_persons):
            centre_x, centre_y, score, _drawn = load_joint(frame_pose + person * person_stride, current)
            merged = tl.maximum(merged, joint_value(row, x, centre_x, centre_y, score, radius, decay))
        if TAKES_MAX:
            maps = tl.maximum(maps, merged)
        else:
            maps += merged
        current = tl.min(tl.where(touches & (joint > current), joint, JOINTS))

    start = (image * height + top) * WIDTH + left
    offset = tl.arange(0, ROWS)[:, None] * WIDTH + tl.arange(0, COLUMNS)[None, :]
    inside = (row < height) & (x < WIDTH)
    tl.store(out + start + offset, maps.to(out.dtype.element_ty), mask=inside)


def tile_shape(height: int, row_length: int, elements: int) -> tuple[int, int]:
    """Return (ROWS, COLUMNS), powers of two: columns that waste few lanes, about ``elements`` in all."""

    def lanes(columns: int) -> float:
        return triton.cdiv(row_length, columns) * (columns + 16)  # 16 lanes: the price of one more tile

    columns = min((256, 128, 64, 32, 16), key=lanes)
    return min(max(elements // columns, 1), triton.next_power_of_2(height)), columns


def grid(programs: int) -> tuple[int, int]:
    return min(programs, MAX_PROGRAMS), triton.cdiv(programs, MAX_PROGRAMS)


@functools.lru_cache(maxsize=64)
def limb_table(limbs: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(limbs, dtype=torch.int32, device=device)


def dense_keypoints(keypoints: Tensor) -> Tensor:
    return keypoints.to(torch.float32).contiguous()


def render(keypoints: Tensor, out: Tensor, sigma: float, mode: HeatmapMode, limbs: list[int]) -> None:
    """Fill ``out`` [B, C, T, H, W], contiguous or in channels_last_3d order; arguments as the operator's."""
    if out.numel() == 0:
        return
    if keypoints.numel() == 0:
        out.zero_()
        return
    keypoints = dense_keypoints(keypoints)
    num_clips, num_persons, num_frames, num_joints, _ = keypoints.shape
    channels, height, width = out.shape[1], *out.shape[3:]
    grayscale = mode.startswith("grayscale")
    interleaved = 1 if out.is_contiguous() else channels
    row_length = width * interleaved
    if row_length >= MAX_ROW_ELEMENTS:
        raise ValueError(
            f"render_heatmaps: a row of {row_length} elements is beyond the Triton kernel's 2**31"
        )
    elements = 512 if grayscale else 4096 if interleaved == 1 and mode == "heatmap" else 2048
    rows, columns = tile_shape(height, row_length, elements)
    images = num_clips * num_frames * (channels // interleaved)
    num_tiles = images * triton.cdiv(height, rows) * triton.cdiv(row_length, columns)
    decay = -LOG2_E / (2 * sigma * sigma)
    if grayscale:
        launch(
            draw_grayscale, grid(num_tiles),
            keypoints, out, num_tiles, num_persons, num_frames, num_joints, height, 3 * sigma, decay,
            WIDTH=width, TAKES_MAX=mode == "grayscale_max", JOINTS=triton.next_power_of_2(num_joints),
            ROWS=rows, COLUMNS=columns, num_warps=1, enable_fp_fusion=True,
        )  # fmt: skip
    else:
        launch(
            draw_maps, grid(num_tiles),
            keypoints, limb_table(tuple(limbs), keypoints.device), out, num_tiles, num_persons, num_frames,
            num_joints, channels // interleaved, height, 3 * sigma, decay,
            WIDTH=width, INTERLEAVED=interleaved, LIMBS=mode == "limb",
            PERSONS=num_persons if num_persons <= MAX_UNROLLED_PERSONS else 0,
            ROWS=rows, COLUMNS=columns, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
