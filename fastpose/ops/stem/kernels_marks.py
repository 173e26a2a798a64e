"""Which joints or limbs reach a strip of the stem's forward kernel, and what all persons of one draw there."""

import triton
import triton.language as tl

from fastpose.ops.stem.kernels import mark_value, mark_window


@triton.jit
def strips_of(
    x_first, x_last, y_first, y_last, seen_x, seen_x_last, seen_y,
    STRIPS: tl.constexpr, STEP: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    """Return a bit for each strip that sees pixels of a window; the first sees rows from seen_y on."""
    bits = tl.zeros_like(x_first)
    near = (x_first <= seen_x_last) & (x_last >= seen_x)
    for strip in tl.static_range(STRIPS):
        top = seen_y + strip * STEP
        bits |= tl.where(near & (y_first < top + SPAN) & (y_last >= top), 1 << strip, 0)
    return bits


@triton.jit
def find_marks(
    frame_pose, person_stride, num_persons, limbs, num_marks, radius, height, width, seen_x, seen_x_last, seen_y,
    LIMBS: tl.constexpr, PERSONS: tl.constexpr, ENTRIES: tl.constexpr, STRIPS: tl.constexpr, STEP: tl.constexpr,
    SPAN: tl.constexpr,
):  # fmt: skip
    """Return (entries [ENTRIES], a bit for each strip that an entry reaches).

    An entry is a mark of one person, mark * PERSONS + person, doubled; or with 1 added, a mark of all persons: of
    those whose windows meet, and with PERSONS = 0 of all.
    """
    entry = tl.arange(0, ENTRIES)
    if PERSONS == 0:
        known = tl.minimum(entry, num_marks - 1)
        strips = tl.zeros_like(entry)
        for person in range(num_persons):
            x_first, x_last, y_first, y_last = mark_window(
                frame_pose + person * person_stride, limbs, known, radius, height, width, LIMBS
            )
            strips |= strips_of(
                x_first, x_last, y_first, y_last, seen_x, seen_x_last, seen_y, STRIPS, STEP, SPAN
            )
        strips = tl.where(entry < num_marks, strips, 0)
        entry = entry * 2 + 1
    else:
        known = tl.minimum(entry // PERSONS, num_marks - 1)
        windows = ()
        own, strips, meets = tl.zeros_like(entry), tl.zeros_like(entry), entry < 0
        for person in tl.static_range(PERSONS):
            x_first, x_last, y_first, y_last = mark_window(
                frame_pose + person * person_stride, limbs, known, radius, height, width, False
            )
            for other in tl.static_range(person):
                meets_x = (windows[other][0] <= x_last) & (windows[other][1] >= x_first)
                meets |= meets_x & (windows[other][2] <= y_last) & (windows[other][3] >= y_first)
            windows = windows + ((x_first, x_last, y_first, y_last),)  # noqa: RUF005
            bits = strips_of(
                x_first, x_last, y_first, y_last, seen_x, seen_x_last, seen_y, STRIPS, STEP, SPAN
            )
            strips |= bits
            own = tl.where(entry % PERSONS == person, bits, own)
        strips = tl.where(meets, tl.where(entry % PERSONS == 0, strips, 0), own)
        strips = tl.where(entry < num_marks * PERSONS, strips, 0)
        entry = entry * 2 + meets.to(tl.int32)
    return entry, strips


@triton.jit
def largest_values(
    frame_pose, person_stride, num_persons, limbs, mark, y, x, radius, decay, width, LIMBS: tl.constexpr
):
    """Return the maximum over persons on pixels x [N] of row y."""
    largest = tl.zeros_like(x).to(tl.float32)
    for person in range(num_persons):
        pose = frame_pose + person * person_stride
        largest = tl.maximum(largest, mark_value(pose, limbs, mark, y, x, radius, decay, LIMBS))
    return tl.where((x >= 0) & (x < width), largest, 0.0)


@triton.jit
def rows_of_all(
    frame_pose, person_stride, num_persons, limbs, mark, radius, height, width, seen_x, seen_x_last,
    LIMBS: tl.constexpr,
):  # fmt: skip
    """Return (first, last) row of pixels of the windows of all persons that reach the tile's columns."""
    first, last = height, -1
    for person in range(num_persons):
        x_first, x_last, y_first, y_last = mark_window(
            frame_pose + person * person_stride, limbs, mark, radius, height, width, LIMBS
        )
        near = (x_first <= seen_x_last) & (x_last >= seen_x) & (y_last >= 0)
        first = tl.where(near, tl.minimum(first, y_first), first)
        last = tl.where(near, tl.maximum(last, y_last), last)
    return first, last
