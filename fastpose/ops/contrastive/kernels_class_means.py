"""Triton kernels of the class means: a product with the one-hot matrix of labels, built in registers."""

import triton
import triton.language as tl

SIZES = ("count", "num_classes")


@triton.jit(do_not_specialize=SIZES)
def means_kernel(
    x_ptr,  # [N, D], and y
    y_ptr,
    labels_x_ptr,  # [N]
    labels_y_ptr,
    means_x_ptr,  # [K, D] float32, and of y
    means_y_ptr,
    counts_ptr,  # [2, K] float32
    count,
    num_classes,
    width,
    stride_x,
    stride_y,
    BLOCK_K: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Add the rows of a tile of classes and columns of one view, in order.

    A label out of range makes the view's means and counts not a number: looking for it from the host would wait
    for the device.
    """
    classes = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    columns = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    view = tl.program_id(2)
    rows_ptr, labels_ptr, means_ptr, stride = x_ptr, labels_x_ptr, means_x_ptr, tl.cast(stride_x, tl.int64)
    if view == 1:
        rows_ptr, labels_ptr, means_ptr, stride = (
            y_ptr,
            labels_y_ptr,
            means_y_ptr,
            tl.cast(stride_y, tl.int64),
        )
    sums = tl.zeros([BLOCK_K, BLOCK_D], tl.float32)
    counts = tl.zeros([BLOCK_K], tl.float32)
    strangers = tl.zeros([BLOCK_N], tl.float32)
    for start in range(0, count, BLOCK_N):
        rows = start + tl.arange(0, BLOCK_N)
        labels = tl.load(labels_ptr + rows, rows < count, -1)
        strangers += tl.where((rows < count) & ((labels < 0) | (labels >= num_classes)), 1.0, 0.0)
        member = classes[:, None] == labels[None, :]  # [BLOCK_K, BLOCK_N]
        mask = (rows < count)[:, None] & (columns < width)[None, :]
        x = tl.load(rows_ptr + rows.to(tl.int64)[:, None] * stride + columns[None, :], mask, 0.0)
        sums = tl.dot(member.to(tl.float32).to(x.dtype), x, sums, input_precision="tf32x3")
        counts += tl.sum(member.to(tl.float32), 1)
    counts = tl.where(tl.sum(strangers, 0) > 0, float("nan"), counts)
    means = sums / tl.where(counts == 0, 1.0, counts)[:, None]
    at = classes.to(tl.int64)[:, None] * width + columns[None, :]
    tl.store(means_ptr + at, means, (classes < num_classes)[:, None] & (columns < width)[None, :])
    if tl.program_id(1) == 0:
        tl.store(counts_ptr + view * num_classes + classes, counts, classes < num_classes)


@triton.jit(do_not_specialize=SIZES)
def means_grad_kernel(
    grad_x_ptr,  # [K, D] of the means, and of those of y
    grad_y_ptr,
    labels_x_ptr,
    labels_y_ptr,
    counts_ptr,
    dx_ptr,  # [N, D] contiguous, and dy
    dy_ptr,
    count,
    num_classes,
    width,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    NEEDS_X: tl.constexpr,
    NEEDS_Y: tl.constexpr,
):
    """Give each row its class's gradient, divided by the members."""
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    mask = (rows < count)[:, None] & (columns < width)[None, :]
    at = rows.to(tl.int64)[:, None] * width + columns[None, :]
    for view in tl.static_range(2):
        if (NEEDS_X, NEEDS_Y)[view]:
            grad_ptr, out_ptr = (grad_x_ptr, grad_y_ptr)[view], (dx_ptr, dy_ptr)[view]
            labels = tl.load((labels_x_ptr, labels_y_ptr)[view] + rows, rows < count, -1)
            known = (labels >= 0) & (labels < num_classes)
            members = tl.load(counts_ptr + view * num_classes + labels, known, 1.0)
            of_class = labels[:, None] * width + columns[None, :]
            gradient = tl.load(grad_ptr + of_class, mask & known[:, None], 0.0) / members[:, None]
            tl.store(out_ptr + at, gradient.to(out_ptr.dtype.element_ty), mask)
