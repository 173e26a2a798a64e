"""Kernels of the forward direction: normalised rows, then the sums over keys and, last, the loss."""

import triton
import triton.language as tl

from fastpose.ops.contrastive.kernels import (
    LOG2E,
    SIZES,
    arrives_last,
    excluded_pairs,
    inverse_temperature,
    load_tile,
    tile_cosines,
    tile_meets,
)

SUM, MAXIMUM, ATTRACTION, POSITIVES = (tl.constexpr(i) for i in range(4))  # what a row keeps of its tiles


@triton.jit
def row_scale(row_ptr, width, BLOCK: tl.constexpr):
    """Return 1 / the largest magnitude, or 0 for a row of zeros: squares of scaled rows neither overflow nor vanish."""
    largest = tl.zeros([BLOCK], tl.float32)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        largest = tl.maximum(largest, tl.abs(tl.load(row_ptr + column, column < width, 0.0).to(tl.float32)))
    largest = tl.max(largest, 0)
    return tl.where(largest < 1.1754943508222875e-38, 0.0, 1.0 / largest)


@triton.jit(do_not_specialize=SIZES)
def normalize_kernel(
    x_ptr,  # [N, D], and y beside it
    y_ptr,
    counts_ptr,  # [2, N]: members of class i in each view
    z_ptr,  # [padded rows, WIDTH]
    inverse_ptr,  # [R] 1 / length; 0 for rows of zeros and absent classes
    bias_ptr,  # [padded rows] -inf for what is no key, else `-s log2(e)`, or 0 with row maxima
    positive_ptr,  # [N] cosine of each pair
    log_sum_ptr,  # [R], and pulls: of the noisy rows, as if they were no anchors
    pull_ptr,
    arrivals_ptr,  # [programs] counters for the next kernel
    tau_ptr,
    temperature,
    count,
    width,
    stride_x,
    stride_y,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    PAIRED: tl.constexpr,
    COUNTED: tl.constexpr,
    ROW_MAX: tl.constexpr,
    TAU_IS_TENSOR: tl.constexpr,
):
    """Normalise row i of both views in program i; programs from N on write the padding rows."""
    i = tl.program_id(0)
    tl.store(arrivals_ptr + i, 0)
    bias = 0.0
    if not ROW_MAX:
        bias = -LOG2E * inverse_temperature(tau_ptr, temperature, TAU_IS_TENSOR)
    if i >= count:
        row = i + count if PAIRED else i
        for start in tl.static_range(0, WIDTH, BLOCK):
            column = start + tl.arange(0, BLOCK)
            zero = tl.zeros([BLOCK], z_ptr.dtype.element_ty)
            tl.store(z_ptr + tl.cast(row, tl.int64) * WIDTH + column, zero, column < WIDTH)
        tl.store(bias_ptr + row, -float("inf"))
        return

    present = True
    if COUNTED:  # a count is not a number where a label is out of range: the loss becomes so too
        present = ~((tl.load(counts_ptr + i) <= 0) | (tl.load(counts_ptr + count + i) <= 0))
    x_row = x_ptr + i.to(tl.int64) * stride_x
    x_scale = row_scale(x_row, width, BLOCK)
    y_row = x_row
    y_scale = x_scale
    if PAIRED:
        y_row = y_ptr + i.to(tl.int64) * stride_y
        y_scale = row_scale(y_row, width, BLOCK)
    xx = tl.zeros([BLOCK], tl.float32)
    yy = tl.zeros([BLOCK], tl.float32)
    xy = tl.zeros([BLOCK], tl.float32)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        x = tl.load(x_row + column, column < width, 0.0).to(tl.float32) * x_scale
        xx += x * x
        if PAIRED:
            y = tl.load(y_row + column, column < width, 0.0).to(tl.float32) * y_scale
            yy += y * y
            xy += x * y
    x_unit = tl.where(x_scale > 0, 1.0 / tl.sqrt_rn(tl.sum(xx, 0)), 0.0)
    y_unit = x_unit
    if PAIRED:
        y_unit = tl.where(y_scale > 0, 1.0 / tl.sqrt_rn(tl.sum(yy, 0)), 0.0)
        tl.store(positive_ptr + i, tl.sum(xy, 0) * x_unit * y_unit)
    x_scale = tl.where(present, x_scale, 0.0)
    y_scale = tl.where(present, y_scale, 0.0)
    bias = tl.where(present, bias, -float("inf"))
    for start in tl.static_range(0, WIDTH, BLOCK):
        column = start + tl.arange(0, BLOCK)
        x = tl.load(x_row + column, column < width, 0.0).to(tl.float32) * x_scale * x_unit
        tl.store(z_ptr + i.to(tl.int64) * WIDTH + column, x.to(z_ptr.dtype.element_ty), column < WIDTH)
        if PAIRED:
            y = tl.load(y_row + column, column < width, 0.0).to(tl.float32) * y_scale * y_unit
            partner = z_ptr + (i + count).to(tl.int64) * WIDTH + column
            tl.store(partner, y.to(z_ptr.dtype.element_ty), column < WIDTH)
    tl.store(inverse_ptr + i, x_scale * x_unit)
    tl.store(bias_ptr + i, bias)
    if PAIRED:
        tl.store(inverse_ptr + count + i, y_scale * y_unit)
        tl.store(bias_ptr + count + i, bias)
        tl.store(log_sum_ptr + count + i, float("inf"))
        tl.store(pull_ptr + count + i, 0.0)


@triton.jit
def log1p(x):
    """Return log(1 + x) for x in [0, 1], to float32 rounding: 2 artanh(v), which the device's log is not near 0."""
    v = x / (2.0 + x)
    square = v * v
    series = 1.0 / 15
    for k in tl.static_range(6, -1, -1):
        series = series * square + 1.0 / (2 * k + 1)
    return 2.0 * v * series


@triton.jit
def finish_anchors(
    rows,
    in_range,
    partial_ptr,
    bias_ptr,
    positive_ptr,
    log_sum_ptr,
    pull_ptr,
    row_loss_ptr,
    s,
    count,
    anchors,
    splits,
    BLOCK: tl.constexpr,
    PAIRED: tl.constexpr,
    ROW_MAX: tl.constexpr,
):
    """Combine the splits, in order, into the loss of each anchor."""
    sums = tl.zeros([BLOCK], tl.float32)
    attraction = tl.zeros([BLOCK], tl.float32)
    positives = tl.zeros([BLOCK], tl.float32)
    maxima = tl.full([BLOCK], -float("inf"), tl.float32)
    step = tl.cast(splits, tl.int64) * anchors
    for split in range(splits):
        partial = partial_ptr + tl.cast(split, tl.int64) * anchors + rows
        part = tl.load(partial + SUM * step, in_range, 0.0)
        if ROW_MAX:
            maximum = tl.load(partial + MAXIMUM * step, in_range, -float("inf"))
            higher = tl.maximum(maxima, maximum)
            finite = tl.where(higher == -float("inf"), 0.0, higher)
            sums = sums * tl.exp2(maxima - finite) + part * tl.exp2(maximum - finite)
            maxima = higher
        else:
            sums += part
        if not PAIRED:
            attraction += tl.load(partial + ATTRACTION * step, in_range, 0.0)
            positives += tl.load(partial + POSITIVES * step, in_range, 0.0)
    if ROW_MAX:
        log_sum = tl.log(sums) + maxima / LOG2E
    else:
        log_sum = tl.log(sums) + s
    if PAIRED:
        counts = in_range & (tl.load(bias_ptr + rows, in_range, -float("inf")) != -float("inf"))
        pair = tl.where(rows < count, rows, rows - count)
        target = s * tl.load(positive_ptr + pair, in_range, 0.0)
        margin = log_sum - target  # of the negatives over the positive; -inf without negatives
        small = tl.exp(-tl.abs(margin))
        loss = tl.maximum(margin, 0.0) + log1p(small)
        loss = tl.where(margin == margin, loss, margin)
        pull = tl.where(margin > 0, 1.0, small) / (1.0 + small)  # 1 - the positive's probability
        log_sum = target + loss
    else:
        counts = positives > 0
        pull = 1.0 / tl.maximum(positives, 1.0)
        loss = log_sum - s * attraction * pull
    tl.store(log_sum_ptr + rows, tl.where(counts, log_sum, float("inf")), in_range)
    tl.store(pull_ptr + rows, tl.where(counts, pull, 0.0), in_range)
    tl.store(row_loss_ptr + rows, tl.where(counts, loss, 0.0), in_range)


@triton.jit
def reduce_losses(
    row_loss_ptr,
    log_sum_ptr,
    loss_ptr,
    scale_ptr,
    count,
    anchors,
    BLOCK: tl.constexpr,
    REDUCTION: tl.constexpr,
):
    """Return the losses of clips (the mean of their two anchors, or of the only one) and their reduction, in order."""
    symmetric = anchors > count
    totals = tl.zeros([BLOCK], tl.float32)
    counted = tl.zeros([BLOCK], tl.float32)
    for start in range(0, count, BLOCK):
        clips = start + tl.arange(0, BLOCK)
        in_range = clips < count
        loss = tl.load(row_loss_ptr + clips, in_range, 0.0)
        other = tl.load(row_loss_ptr + count + clips, count + clips < anchors, 0.0)
        loss = tl.where(symmetric, (loss + other) * 0.5, loss)
        totals += loss
        if REDUCTION == "none":
            tl.store(loss_ptr + clips, loss, in_range)
        if REDUCTION == "mean":
            is_anchor = tl.load(log_sum_ptr + clips, in_range, float("inf")) != float("inf")
            counted += is_anchor.to(tl.float32)
    scale = 1.0
    if REDUCTION == "mean":
        scale = 1.0 / tl.maximum(tl.sum(counted, 0), 1.0)
    if REDUCTION != "none":
        tl.store(loss_ptr, tl.sum(totals, 0) * scale)
    tl.store(scale_ptr, tl.where(symmetric, 0.5 * scale, scale))


@triton.jit(do_not_specialize=SIZES)
def sums_kernel(
    z_ptr,
    bias_ptr,
    labels_ptr,  # [R], unless paired
    positive_ptr,
    partial_ptr,  # [4, splits, anchors]
    row_loss_ptr,  # [anchors]
    log_sum_ptr,  # [R] log of each anchor's denominator; +inf for rows that are no anchors
    pull_ptr,  # [R] paired: 1 - P(positive); labels: 1 / positives; 0 for rows that are no anchors
    loss_ptr,  # [N] or []
    scale_ptr,  # []: what a unit gradient of the loss gives each anchor
    arrivals_ptr,  # [1 + programs(0)], zeros
    tau_ptr,
    temperature,
    count,
    anchors,
    total,
    WIDTH: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PAIRED: tl.constexpr,
    ROW_MAX: tl.constexpr,
    PRECISION: tl.constexpr,
    TAU_IS_TENSOR: tl.constexpr,
    BLOCK: tl.constexpr,
    REDUCTION: tl.constexpr,
):
    """Sum exp(s cos) of a tile of anchors over one split of the keys, relative to exp(s) or the row maximum.

    The last split of a tile to come in turns the sums into losses; the last tile, these into the loss.
    """
    first_row = tl.program_id(0) * BLOCK_M
    split, splits = tl.program_id(1), tl.num_programs(1)
    rows = first_row + tl.arange(0, BLOCK_M)
    in_range = rows < anchors
    s = inverse_temperature(tau_ptr, temperature, TAU_IS_TENSOR)
    s2 = LOG2E * s
    sums = tl.zeros([BLOCK_M], tl.float32)
    maxima = tl.full([BLOCK_M], -float("inf"), tl.float32)
    attraction = tl.zeros([BLOCK_M], tl.float32)
    positives = tl.zeros([BLOCK_M], tl.float32)
    z = load_tile(z_ptr, first_row, 0, WIDTH, BLOCK_M, BLOCK_D)
    if not PAIRED:
        row_labels = tl.load(labels_ptr + rows, in_range, 0)
    tiles = tl.cdiv(total, BLOCK_N)
    for tile in range(tiles * split // splits, tiles * (split + 1) // splits):
        first_key = tile * BLOCK_N
        keys = first_key + tl.arange(0, BLOCK_N)
        key_rows = load_tile(z_ptr, first_key, 0, WIDTH, BLOCK_N, BLOCK_D)
        cosines = tile_cosines(
            z_ptr, z, key_rows, first_row, first_key, WIDTH, BLOCK_M, BLOCK_N, BLOCK_D, PRECISION
        )
        logits = cosines * s2 + tl.load(bias_ptr + keys)[None, :]
        if tile_meets(first_row, first_key, count, BLOCK_M, BLOCK_N, PAIRED):
            logits = tl.where(excluded_pairs(rows, keys, count, PAIRED), -float("inf"), logits)
        if ROW_MAX:
            higher = tl.maximum(maxima, tl.max(logits, 1))
            finite = tl.where(higher == -float("inf"), 0.0, higher)  # no key so far
            sums = sums * tl.exp2(maxima - finite) + tl.sum(tl.exp2(logits - finite[:, None]), 1)
            maxima = higher
        else:
            sums += tl.sum(tl.exp2(logits), 1)
        if not PAIRED:
            same = row_labels[:, None] == tl.load(labels_ptr + keys, keys < total, 0)[None, :]
            same &= (rows[:, None] != keys[None, :]) & (keys < total)[None, :]
            attraction += tl.sum(tl.where(same, cosines, 0.0), 1)
            positives += tl.sum(same.to(tl.float32), 1)
    out = partial_ptr + tl.cast(split, tl.int64) * anchors + rows
    step = tl.cast(splits, tl.int64) * anchors
    tl.store(out + SUM * step, sums, in_range)
    if ROW_MAX:
        tl.store(out + MAXIMUM * step, maxima, in_range)
    if not PAIRED:
        tl.store(out + ATTRACTION * step, attraction, in_range)
        tl.store(out + POSITIVES * step, positives, in_range)
    if arrives_last(arrivals_ptr + 1 + tl.program_id(0), splits):
        finish_anchors(
            rows, in_range, partial_ptr, bias_ptr, positive_ptr, log_sum_ptr, pull_ptr, row_loss_ptr, s, count,
            anchors, splits, BLOCK_M, PAIRED, ROW_MAX,
        )  # fmt: skip
        if arrives_last(arrivals_ptr, tl.num_programs(0)):
            reduce_losses(row_loss_ptr, log_sum_ptr, loss_ptr, scale_ptr, count, anchors, BLOCK, REDUCTION)
