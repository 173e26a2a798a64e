"""Triton kernels of the contrastive losses; the only importer of triton here.

R rows z are normalised, in the operands' format, padded with zeros to whole tiles; every row is compared with
every other, tile by tile, and no matrix of pairs is stored. Programs own their output and walk tiles in order:
no atomics, equal bits in every run. Paired rows: clip i is row i (clean) and row N + i (noisy), each the other's
positive, which stays out of the tiles: its cosine is a float32 dot product of its own.
"""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
SUM, MAXIMUM, ATTRACTION, POSITIVES = (tl.constexpr(i) for i in range(4))  # what a row keeps of its tiles
SIZES = ("count", "anchors", "total", "padded", "splits", "grad_stride")  # one binary for all of them


@triton.jit
def _inverse_temperature(tau_ptr, temperature, TAU_IS_TENSOR: tl.constexpr):
    if TAU_IS_TENSOR:
        temperature = tl.load(tau_ptr).to(tl.float32)
        temperature = tl.where(temperature > 0, temperature, float("nan"))  # unseen from the host
    return 1.0 / temperature


@triton.jit
def _row_scale(row_ptr, width, BLOCK: tl.constexpr):
    """1 / the largest magnitude, or 0 for a row of zeros: squares of scaled rows neither overflow nor vanish."""
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
    """Program i normalises row i of both views; programs from N on write the padding rows."""
    i = tl.program_id(0)
    bias = 0.0
    if not ROW_MAX:
        bias = -LOG2E * _inverse_temperature(tau_ptr, temperature, TAU_IS_TENSOR)
    if i >= count:
        row = i + count if PAIRED else i
        for start in tl.static_range(0, WIDTH, BLOCK):
            column = start + tl.arange(0, BLOCK)
            zero = tl.zeros([BLOCK], z_ptr.dtype.element_ty)
            tl.store(z_ptr + tl.cast(row, tl.int64) * WIDTH + column, zero, column < WIDTH)
        tl.store(bias_ptr + row, -float("inf"))
        return

    present = True
    if COUNTED:  # a count that is not a number tells of a label out of range: the loss becomes so too
        present = ~((tl.load(counts_ptr + i) <= 0) | (tl.load(counts_ptr + count + i) <= 0))
    x_row = x_ptr + i.to(tl.int64) * stride_x
    x_scale = _row_scale(x_row, width, BLOCK)
    y_row = x_row
    y_scale = x_scale
    if PAIRED:
        y_row = y_ptr + i.to(tl.int64) * stride_y
        y_scale = _row_scale(y_row, width, BLOCK)
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


@triton.jit
def _tile(z_ptr, first_row, first_column, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    base = (
        z_ptr + tl.cast(first_row, tl.int64) * WIDTH + first_column
    )  # 64 bits once; inside the tile 32 suffice
    return tl.load(base + tl.arange(0, ROWS)[:, None] * WIDTH + tl.arange(0, COLUMNS)[None, :])


@triton.jit
def _cosines(
    z_ptr,
    z,  # rows [BLOCK_M, BLOCK_D] where one block holds the width
    keys,  # likewise [BLOCK_N, BLOCK_D]
    first_row,
    first_key,
    WIDTH: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):
    if WIDTH == BLOCK_D:
        return tl.dot(z, keys.T, input_precision=PRECISION)
    else:
        cosines = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
        for column in range(0, WIDTH, BLOCK_D):
            z = _tile(z_ptr, first_row, column, WIDTH, BLOCK_M, BLOCK_D)
            keys = _tile(z_ptr, first_key, column, WIDTH, BLOCK_N, BLOCK_D)
            cosines = tl.dot(z, keys.T, cosines, input_precision=PRECISION)
        return cosines


@triton.jit
def _meets(first_row, first_key, count, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, PAIRED: tl.constexpr):
    """Whether some row of the tile is its own key in it, or its partner's."""
    ahead = first_key - first_row
    meets = (ahead < BLOCK_M) & (ahead > -BLOCK_N)
    if PAIRED:
        meets |= (ahead - count < BLOCK_M) & (ahead - count > -BLOCK_N)
        meets |= (ahead + count < BLOCK_M) & (ahead + count > -BLOCK_N)
    return meets


@triton.jit
def _excluded(rows, keys, count, PAIRED: tl.constexpr):
    excluded = rows[:, None] == keys[None, :]
    if PAIRED:
        excluded |= tl.where(rows < count, rows + count, rows - count)[:, None] == keys[None, :]
    return excluded


@triton.jit(do_not_specialize=SIZES)
def sums_kernel(
    z_ptr,
    bias_ptr,
    labels_ptr,  # [R], unless paired
    partial_ptr,  # [4, splits, anchors]
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
):
    """Σ exp(s cos) of a tile of anchors over one split of the keys, relative to exp(s) or the row maximum."""
    first_row = tl.program_id(0) * BLOCK_M
    split, splits = tl.program_id(1), tl.num_programs(1)
    rows = first_row + tl.arange(0, BLOCK_M)
    in_range = rows < anchors
    s2 = LOG2E * _inverse_temperature(tau_ptr, temperature, TAU_IS_TENSOR)
    sums = tl.zeros([BLOCK_M], tl.float32)
    maxima = tl.full([BLOCK_M], -float("inf"), tl.float32)
    attraction = tl.zeros([BLOCK_M], tl.float32)
    positives = tl.zeros([BLOCK_M], tl.float32)
    z = _tile(z_ptr, first_row, 0, WIDTH, BLOCK_M, BLOCK_D)
    if not PAIRED:
        row_labels = tl.load(labels_ptr + rows, in_range, 0)
    tiles = tl.cdiv(total, BLOCK_N)
    for tile in range(tiles * split // splits, tiles * (split + 1) // splits):
        first_key = tile * BLOCK_N
        keys = first_key + tl.arange(0, BLOCK_N)
        key_rows = _tile(z_ptr, first_key, 0, WIDTH, BLOCK_N, BLOCK_D)
        cosines = _cosines(
            z_ptr, z, key_rows, first_row, first_key, WIDTH, BLOCK_M, BLOCK_N, BLOCK_D, PRECISION
        )
        logits = cosines * s2 + tl.load(bias_ptr + keys)[None, :]
        if _meets(first_row, first_key, count, BLOCK_M, BLOCK_N, PAIRED):
            logits = tl.where(_excluded(rows, keys, count, PAIRED), -float("inf"), logits)
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


@triton.jit
def _log1p(x):
    """For x in [0, 1], to float32 rounding: 2 artanh(v), which the device's approximate log is not near 0."""
    v = x / (2.0 + x)
    square = v * v
    series = 1.0 / 15
    for k in tl.static_range(6, -1, -1):
        series = series * square + 1.0 / (2 * k + 1)
    return 2.0 * v * series


@triton.jit
def _finish_rows(
    rows,
    in_range,
    partial_ptr,
    bias_ptr,
    positive_ptr,
    log_sum_ptr,
    pull_ptr,
    s,
    count,
    anchors,
    splits,
    BLOCK: tl.constexpr,
    PAIRED: tl.constexpr,
    ROW_MAX: tl.constexpr,
):
    """Combine the splits, in order, into the loss of each row; returns it and whether the row counts."""
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
        loss = tl.maximum(margin, 0.0) + _log1p(small)
        loss = tl.where(margin == margin, loss, margin)
        pull = tl.where(margin > 0, 1.0, small) / (1.0 + small)  # 1 - the positive's probability
        log_sum = target + loss
    else:
        counts = positives > 0
        pull = 1.0 / tl.maximum(positives, 1.0)
        loss = log_sum - s * attraction * pull
    tl.store(log_sum_ptr + rows, tl.where(counts, log_sum, float("inf")), in_range)
    tl.store(pull_ptr + rows, tl.where(counts, pull, 0.0), in_range)
    return tl.where(counts, loss, 0.0), counts


@triton.jit(do_not_specialize=SIZES)
def finish_kernel(
    partial_ptr,
    bias_ptr,
    positive_ptr,
    log_sum_ptr,  # [R] log of each anchor's denominator; +inf for rows that are no anchors
    pull_ptr,  # [R] paired: 1 - P(positive); labels: 1 / positives; 0 for rows that are no anchors
    loss_ptr,  # [N] or []
    scale_ptr,  # []: what a unit gradient of the loss gives each anchor
    tau_ptr,
    temperature,
    count,
    anchors,
    splits,
    BLOCK: tl.constexpr,
    PAIRED: tl.constexpr,
    SYMMETRIC: tl.constexpr,
    ROW_MAX: tl.constexpr,
    REDUCTION: tl.constexpr,
    TAU_IS_TENSOR: tl.constexpr,
):
    """One program: losses from partial sums, reduced in a fixed order."""
    s = _inverse_temperature(tau_ptr, temperature, TAU_IS_TENSOR)
    totals = tl.zeros([BLOCK], tl.float32)
    counted = tl.zeros([BLOCK], tl.float32)
    half = 0.5 if SYMMETRIC else 1.0
    for start in range(0, count, BLOCK):
        clips = start + tl.arange(0, BLOCK)
        in_range = clips < count
        loss, counts = _finish_rows(
            clips, in_range, partial_ptr, bias_ptr, positive_ptr, log_sum_ptr, pull_ptr, s, count, anchors,
            splits, BLOCK, PAIRED, ROW_MAX,
        )  # fmt: skip
        if SYMMETRIC:
            other, _ = _finish_rows(
                clips + count, in_range, partial_ptr, bias_ptr, positive_ptr, log_sum_ptr, pull_ptr, s, count,
                anchors, splits, BLOCK, PAIRED, ROW_MAX,
            )  # fmt: skip
            loss = (loss + other) * 0.5
        elif PAIRED:
            tl.store(log_sum_ptr + count + clips, float("inf"), in_range)
            tl.store(pull_ptr + count + clips, 0.0, in_range)
        if REDUCTION == "none":
            tl.store(loss_ptr + clips, loss, in_range)
        totals += loss
        counted += counts.to(tl.float32)
    scale = 1.0
    if REDUCTION == "mean":
        scale = 1.0 / tl.maximum(tl.sum(counted, 0), 1.0)
    if REDUCTION != "none":
        tl.store(loss_ptr, tl.sum(totals, 0) * scale)
    tl.store(scale_ptr, scale * half)


@triton.jit
def _anchor_gradients(
    rows,
    total,
    count,
    grad_ptr,
    grad_stride,
    scale,
    log_sum_ptr,
    pull_ptr,
    s2,
    PAIRED: tl.constexpr,
    ROW_MAX: tl.constexpr,
):
    """Per row: gradient of its loss; that over its denominator (or the denominator's log2); and per positive."""
    in_range = rows < total
    clip = rows
    if PAIRED:
        clip = tl.where(rows < count, rows, rows - count)
    grad = tl.load(grad_ptr + clip.to(tl.int64) * grad_stride, in_range, 0.0) * scale
    log_sum = tl.load(log_sum_ptr + rows, in_range, float("inf")) * LOG2E
    weight = log_sum if ROW_MAX else grad * tl.exp2(s2 - log_sum)
    share = grad
    if not PAIRED:
        share = grad * tl.load(pull_ptr + rows, in_range, 0.0)
    return grad, weight, share


@triton.jit(do_not_specialize=SIZES)
def pairs_grad_kernel(
    z_ptr,
    labels_ptr,
    log_sum_ptr,
    pull_ptr,
    scale_ptr,
    grad_ptr,
    grad_stride,
    out_ptr,  # [splits, padded rows, WIDTH] float32
    tau_ptr,
    temperature,
    count,
    anchors,
    total,
    padded,
    WIDTH: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_O: tl.constexpr,
    PAIRED: tl.constexpr,
    ROW_MAX: tl.constexpr,
    PRECISION: tl.constexpr,
    TAU_IS_TENSOR: tl.constexpr,
):
    """Σ_b w_cb z_b for a tile of rows c and BLOCK_O columns, over one split of the keys."""
    first_row = tl.program_id(0) * BLOCK_M
    first_column = tl.program_id(1) * BLOCK_O
    split, splits = tl.program_id(2), tl.num_programs(2)
    rows = first_row + tl.arange(0, BLOCK_M)
    s2 = LOG2E * _inverse_temperature(tau_ptr, temperature, TAU_IS_TENSOR)
    scale = tl.load(scale_ptr)
    grad, weight, share = _anchor_gradients(
        rows, total, count, grad_ptr, grad_stride, scale, log_sum_ptr, pull_ptr, s2, PAIRED, ROW_MAX
    )
    z = _tile(z_ptr, first_row, 0, WIDTH, BLOCK_M, BLOCK_D)
    out = tl.zeros([BLOCK_M, BLOCK_O], tl.float32)
    if not PAIRED:
        row_labels = tl.load(labels_ptr + rows, rows < total, 0)
    tiles = tl.cdiv(
        tl.where(first_row >= anchors, anchors, total), BLOCK_N
    )  # two that are no anchors: weight 0
    for tile in range(tiles * split // splits, tiles * (split + 1) // splits):
        first_key = tile * BLOCK_N
        keys = first_key + tl.arange(0, BLOCK_N)
        key_rows = _tile(z_ptr, first_key, 0, WIDTH, BLOCK_N, BLOCK_D)
        cosines = _cosines(
            z_ptr, z, key_rows, first_row, first_key, WIDTH, BLOCK_M, BLOCK_N, BLOCK_D, PRECISION
        )
        key_grad, key_weight, key_share = _anchor_gradients(
            keys, total, count, grad_ptr, grad_stride, scale, log_sum_ptr, pull_ptr, s2, PAIRED, ROW_MAX
        )
        if ROW_MAX:
            logits = cosines * s2
            weights = tl.exp2(logits - weight[:, None]) * grad[:, None]
            weights += tl.exp2(logits - key_weight[None, :]) * key_grad[None, :]
        else:
            weights = tl.exp2(cosines * s2 - s2) * (weight[:, None] + key_weight[None, :])
        if not PAIRED:
            same = row_labels[:, None] == tl.load(labels_ptr + keys, keys < total, 0)[None, :]
            weights -= tl.where(same, share[:, None] + key_share[None, :], 0.0)
        if _meets(first_row, first_key, count, BLOCK_M, BLOCK_N, PAIRED):
            weights = tl.where(_excluded(rows, keys, count, PAIRED), 0.0, weights)
        if WIDTH > BLOCK_D:
            key_rows = _tile(z_ptr, first_key, first_column, WIDTH, BLOCK_N, BLOCK_O)
        out = tl.dot(weights.to(key_rows.dtype), key_rows, out, input_precision=PRECISION)
    base = out_ptr + (tl.cast(split, tl.int64) * padded + first_row) * WIDTH + first_column
    tl.store(base + tl.arange(0, BLOCK_M)[:, None] * WIDTH + tl.arange(0, BLOCK_O)[None, :], out)


@triton.jit
def _summed(pairs_ptr, row, column, width, padded, splits, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    total = tl.zeros([BLOCK], tl.float32)
    for split in range(splits):
        at = (tl.cast(split, tl.int64) * padded + row) * WIDTH + column
        total += tl.load(pairs_ptr + at, column < width, 0.0)
    return total


@triton.jit(do_not_specialize=SIZES)
def rows_grad_kernel(
    pairs_ptr,  # [splits, padded rows, WIDTH]
    x_ptr,
    y_ptr,
    inverse_ptr,
    pull_ptr,
    scale_ptr,
    grad_ptr,
    grad_stride,
    dx_ptr,  # [N, D] contiguous, and dy
    dy_ptr,
    dots_ptr,  # [N] Σ over a clip's rows of z · dL/dz = 2 s dL/ds
    tau_ptr,
    temperature,
    count,
    width,
    stride_x,
    stride_y,
    padded,
    splits,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    PAIRED: tl.constexpr,
    NEEDS_X: tl.constexpr,
    NEEDS_Y: tl.constexpr,
    TAU_IS_TENSOR: tl.constexpr,
):
    """Program i adds the positive's part to clip i and goes back through the normalisation."""
    i = tl.program_id(0).to(tl.int64)
    s = _inverse_temperature(tau_ptr, temperature, TAU_IS_TENSOR)
    x_inverse = tl.load(inverse_ptr + i)
    y_inverse = x_inverse
    pull = 0.0
    if PAIRED:
        y_inverse = tl.load(inverse_ptr + count + i)
        grad = tl.load(grad_ptr + i * grad_stride) * tl.load(scale_ptr)
        pull = grad * (tl.load(pull_ptr + i) + tl.load(pull_ptr + count + i))
    x_dots = tl.zeros([BLOCK], tl.float32)
    y_dots = tl.zeros([BLOCK], tl.float32)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        zx = tl.load(x_ptr + i * stride_x + column, column < width, 0.0).to(tl.float32) * x_inverse
        gx = _summed(pairs_ptr, i, column, width, padded, splits, WIDTH, BLOCK)
        if PAIRED:
            zy = tl.load(y_ptr + i * stride_y + column, column < width, 0.0).to(tl.float32) * y_inverse
            gy = _summed(pairs_ptr, i + count, column, width, padded, splits, WIDTH, BLOCK) - pull * zx
            y_dots += gy * zy
            gx -= pull * zy
        x_dots += gx * zx
    x_dot, y_dot = tl.sum(x_dots, 0), tl.sum(y_dots, 0)
    tl.store(dots_ptr + i, s * (x_dot + y_dot))
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        zx = tl.load(x_ptr + i * stride_x + column, column < width, 0.0).to(tl.float32) * x_inverse
        zy = zx
        if PAIRED:
            zy = tl.load(y_ptr + i * stride_y + column, column < width, 0.0).to(tl.float32) * y_inverse
        if NEEDS_X:
            gx = _summed(pairs_ptr, i, column, width, padded, splits, WIDTH, BLOCK) - pull * zy
            dx = s * (gx - x_dot * zx) * x_inverse
            tl.store(dx_ptr + i * width + column, dx.to(dx_ptr.dtype.element_ty), column < width)
        if NEEDS_Y:
            gy = _summed(pairs_ptr, i + count, column, width, padded, splits, WIDTH, BLOCK) - pull * zx
            dy = s * (gy - y_dot * zy) * y_inverse
            tl.store(dy_ptr + i * width + column, dy.to(dy_ptr.dtype.element_ty), column < width)


@triton.jit(do_not_specialize=SIZES)
def tau_grad_kernel(dots_ptr, out_ptr, tau_ptr, count, BLOCK: tl.constexpr):
    """dL/dτ = -s² dL/ds, one program in a fixed order."""
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, count, BLOCK):
        i = start + tl.arange(0, BLOCK)
        total += tl.load(dots_ptr + i, i < count, 0.0)
    gradient = -0.5 / tl.load(tau_ptr).to(tl.float32) * tl.sum(total, 0)
    tl.store(out_ptr, gradient.to(out_ptr.dtype.element_ty))
