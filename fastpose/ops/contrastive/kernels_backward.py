"""Kernels of the backward direction.

dL/dz_c is s (Σ_b w_cb z_b − the positive's part), w symmetric, so programs own rows. Where a tile of output has
room for all columns, one kernel computes weights and their product with z. Wider rows would need the weights
again for each block of columns; there, panels of weights are written out, and multiplied by z at the full rate.
"""

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


@triton.jit
def loss_terms(
    rows,
    labels_ptr,
    log_sum_ptr,
    pull_ptr,
    grad_ptr,
    grad_stride,
    scale,
    count,
    total,
    PAIRED: tl.constexpr,
    ROW_MAX: tl.constexpr,
):
    """Return per row its loss's gradient; that over its denominator (or the log2 of that); per positive; its label."""
    in_range = rows < total
    clip = rows
    if PAIRED:
        clip = tl.where(rows < count, rows, rows - count)
    grad = tl.load(grad_ptr + clip.to(tl.int64) * grad_stride, in_range, 0.0) * scale
    log_sum = tl.load(log_sum_ptr + rows, in_range, float("inf")) * LOG2E
    weight = log_sum if ROW_MAX else grad * tl.exp2(-log_sum)
    share = grad
    label = rows
    if not PAIRED:
        share = grad * tl.load(pull_ptr + rows, in_range, 0.0)
        label = tl.load(labels_ptr + rows, in_range, 0)
    return grad, weight, share, label


@triton.jit
def share_of_sum(logits, log_sum):
    """Return exp2(logits - log_sum), which is no more than 1 for a key in the sum.

    Padding and absent classes are in none: there it could be infinite, and the row of zeros that it multiplies no 0.
    """
    return tl.exp2(tl.minimum(logits - log_sum, 0.0, propagate_nan=tl.PropagateNan.ALL))


@triton.jit
def tile_weights(
    cosines,
    of_rows,  # `loss_terms` of the rows, and of the keys
    of_keys,
    first_row,
    first_key,
    s2,
    count,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    PAIRED: tl.constexpr,
    ROW_MAX: tl.constexpr,
):
    """Return w of a tile: what the cosine of a pair, as either row sees it, weighs in the loss."""
    row_grad, row_weight, row_share, row_label = of_rows
    key_grad, key_weight, key_share, key_label = of_keys
    if ROW_MAX:
        logits = cosines * s2
        weights = share_of_sum(logits, row_weight[:, None]) * row_grad[:, None]
        weights += share_of_sum(logits, key_weight[None, :]) * key_grad[None, :]
    else:
        weights = tl.exp2(cosines * s2) * (row_weight[:, None] + key_weight[None, :])  # each below 2**64
    if not PAIRED:
        same = row_label[:, None] == key_label[None, :]
        weights -= tl.where(same, row_share[:, None] + key_share[None, :], 0.0)
    if tile_meets(first_row, first_key, count, BLOCK_M, BLOCK_N, PAIRED):
        rows, keys = first_row + tl.arange(0, BLOCK_M), first_key + tl.arange(0, BLOCK_N)
        weights = tl.where(excluded_pairs(rows, keys, count, PAIRED), 0.0, weights)
    return weights


@triton.jit
def key_count(first_row, anchors, total):
    """Return the number of keys of a tile: rows that are no anchors have weights with anchors alone."""
    return tl.where(first_row >= anchors, anchors, total)


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
    arrivals_ptr,  # [] for `rows_grad_kernel`
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
    """Compute Σ_b w_cb z_b for a tile of rows c and BLOCK_O columns, over one split of the keys."""
    first_row = tl.program_id(0) * BLOCK_M
    first_column = tl.program_id(1) * BLOCK_O
    split, splits = tl.program_id(2), tl.num_programs(2)
    tl.store(arrivals_ptr, 0)
    s2 = LOG2E * inverse_temperature(tau_ptr, temperature, TAU_IS_TENSOR)
    scale = tl.load(scale_ptr)
    of_rows = loss_terms(
        first_row + tl.arange(0, BLOCK_M), labels_ptr, log_sum_ptr, pull_ptr, grad_ptr, grad_stride, scale,
        count, total, PAIRED, ROW_MAX,
    )  # fmt: skip
    z = load_tile(z_ptr, first_row, 0, WIDTH, BLOCK_M, BLOCK_D)
    out = tl.zeros([BLOCK_M, BLOCK_O], tl.float32)
    tiles = tl.cdiv(key_count(first_row, anchors, total), BLOCK_N)
    for tile in range(tiles * split // splits, tiles * (split + 1) // splits):
        first_key = tile * BLOCK_N
        key_rows = load_tile(z_ptr, first_key, 0, WIDTH, BLOCK_N, BLOCK_D)
        cosines = tile_cosines(
            z_ptr, z, key_rows, first_row, first_key, WIDTH, BLOCK_M, BLOCK_N, BLOCK_D, PRECISION
        )
        of_keys = loss_terms(
            first_key + tl.arange(0, BLOCK_N), labels_ptr, log_sum_ptr, pull_ptr, grad_ptr, grad_stride, scale,
            count, total, PAIRED, ROW_MAX,
        )  # fmt: skip
        weights = tile_weights(
            cosines, of_rows, of_keys, first_row, first_key, s2, count, BLOCK_M, BLOCK_N, PAIRED, ROW_MAX
        )
        if WIDTH > BLOCK_D:
            key_rows = load_tile(z_ptr, first_key, first_column, WIDTH, BLOCK_N, BLOCK_O)
        out = tl.dot(weights.to(key_rows.dtype), key_rows, out, input_precision=PRECISION)
    base = out_ptr + (tl.cast(split, tl.int64) * padded + first_row) * WIDTH + first_column
    tl.store(base + tl.arange(0, BLOCK_M)[:, None] * WIDTH + tl.arange(0, BLOCK_O)[None, :], out)


@triton.jit(do_not_specialize=SIZES)
def weights_kernel(
    z_ptr,
    labels_ptr,
    log_sum_ptr,
    pull_ptr,
    scale_ptr,
    grad_ptr,
    grad_stride,
    weights_ptr,  # [panel rows, padded rows], in the operands' format
    arrivals_ptr,
    tau_ptr,
    temperature,
    count,
    anchors,
    total,
    padded,
    first,  # row of the panel
    WIDTH: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PAIRED: tl.constexpr,
    ROW_MAX: tl.constexpr,
    PRECISION: tl.constexpr,
    TAU_IS_TENSOR: tl.constexpr,
):
    """Compute one tile of a panel of w."""
    row_in_panel = tl.program_id(0) * BLOCK_M
    first_row, first_key = first + row_in_panel, tl.program_id(1) * BLOCK_N
    tl.store(arrivals_ptr, 0)
    if first_key >= key_count(first_row, anchors, total):
        return
    s2 = LOG2E * inverse_temperature(tau_ptr, temperature, TAU_IS_TENSOR)
    z = load_tile(z_ptr, first_row, 0, WIDTH, BLOCK_M, BLOCK_D)
    key_rows = load_tile(z_ptr, first_key, 0, WIDTH, BLOCK_N, BLOCK_D)
    cosines = tile_cosines(
        z_ptr, z, key_rows, first_row, first_key, WIDTH, BLOCK_M, BLOCK_N, BLOCK_D, PRECISION
    )
    scale = tl.load(scale_ptr)
    of_rows = loss_terms(
        first_row + tl.arange(0, BLOCK_M), labels_ptr, log_sum_ptr, pull_ptr, grad_ptr, grad_stride, scale,
        count, total, PAIRED, ROW_MAX,
    )  # fmt: skip
    of_keys = loss_terms(
        first_key + tl.arange(0, BLOCK_N), labels_ptr, log_sum_ptr, pull_ptr, grad_ptr, grad_stride, scale,
        count, total, PAIRED, ROW_MAX,
    )  # fmt: skip
    weights = tile_weights(
        cosines, of_rows, of_keys, first_row, first_key, s2, count, BLOCK_M, BLOCK_N, PAIRED, ROW_MAX
    )
    base = weights_ptr + row_in_panel.to(tl.int64) * padded + first_key
    at = tl.arange(0, BLOCK_M)[:, None] * padded + tl.arange(0, BLOCK_N)[None, :]
    tl.store(base + at, weights.to(weights_ptr.dtype.element_ty))


@triton.jit(do_not_specialize=SIZES)
def product_kernel(
    weights_ptr,
    z_ptr,
    out_ptr,
    anchors,
    total,
    padded,
    first,
    WIDTH: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_O: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Compute what `pairs_grad_kernel` computes, from a panel of w."""
    row_in_panel = tl.program_id(0) * BLOCK_M
    first_row, first_column = first + row_in_panel, tl.program_id(1) * BLOCK_O
    split, splits = tl.program_id(2), tl.num_programs(2)
    panel = weights_ptr + row_in_panel.to(tl.int64) * padded
    panel += tl.arange(0, BLOCK_M)[:, None] * padded + tl.arange(0, BLOCK_N)[None, :]
    out = tl.zeros([BLOCK_M, BLOCK_O], tl.float32)
    tiles = tl.cdiv(key_count(first_row, anchors, total), BLOCK_N)
    for tile in range(tiles * split // splits, tiles * (split + 1) // splits):
        first_key = tile * BLOCK_N
        weights = tl.load(panel + first_key)
        key_rows = load_tile(z_ptr, first_key, first_column, WIDTH, BLOCK_N, BLOCK_O)
        out = tl.dot(weights, key_rows, out, input_precision=PRECISION)
    base = out_ptr + (tl.cast(split, tl.int64) * padded + first_row) * WIDTH + first_column
    tl.store(base + tl.arange(0, BLOCK_M)[:, None] * WIDTH + tl.arange(0, BLOCK_O)[None, :], out)


@triton.jit
def sum_splits(pairs_ptr, row, column, width, padded, splits, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
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
    dtau_ptr,
    arrivals_ptr,  # [], zero
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
    NEEDS_TAU: tl.constexpr,
    TAU_IS_TENSOR: tl.constexpr,
):
    """Add the positive's part to clip i in program i and go back through the normalisation.

    The last one to come in sums up the gradient of the temperature, dL/dτ = -s² dL/ds.
    """
    i = tl.program_id(0).to(tl.int64)
    s = inverse_temperature(tau_ptr, temperature, TAU_IS_TENSOR)
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
        gx = sum_splits(pairs_ptr, i, column, width, padded, splits, WIDTH, BLOCK)
        if PAIRED:
            zy = tl.load(y_ptr + i * stride_y + column, column < width, 0.0).to(tl.float32) * y_inverse
            gy = sum_splits(pairs_ptr, i + count, column, width, padded, splits, WIDTH, BLOCK) - pull * zx
            y_dots += gy * zy
            gx -= pull * zy
        x_dots += gx * zx
    x_dot, y_dot = tl.sum(x_dots, 0), tl.sum(y_dots, 0)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        zx = tl.load(x_ptr + i * stride_x + column, column < width, 0.0).to(tl.float32) * x_inverse
        zy = zx
        if PAIRED:
            zy = tl.load(y_ptr + i * stride_y + column, column < width, 0.0).to(tl.float32) * y_inverse
        if NEEDS_X:
            gx = sum_splits(pairs_ptr, i, column, width, padded, splits, WIDTH, BLOCK) - pull * zy
            dx = s * (gx - x_dot * zx) * x_inverse
            tl.store(dx_ptr + i * width + column, dx.to(dx_ptr.dtype.element_ty), column < width)
        if NEEDS_Y:
            gy = sum_splits(pairs_ptr, i + count, column, width, padded, splits, WIDTH, BLOCK) - pull * zx
            dy = s * (gy - y_dot * zy) * y_inverse
            tl.store(dy_ptr + i * width + column, dy.to(dy_ptr.dtype.element_ty), column < width)
    if NEEDS_TAU:
        tl.store(dots_ptr + i, s * (x_dot + y_dot))
        if arrives_last(arrivals_ptr, count):
            total = tl.zeros([BLOCK], tl.float32)
            for start in range(0, count, BLOCK):
                clips = start + tl.arange(0, BLOCK)
                total += tl.load(dots_ptr + clips, clips < count, 0.0)
            tl.store(dtau_ptr, (-0.5 * s * tl.sum(total, 0)).to(dtau_ptr.dtype.element_ty))
