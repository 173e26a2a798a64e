"""Launches of the Triton kernels, and their buffers."""

import functools

import torch
from torch import Tensor

from fastpose.ops.contrastive.state import State
from fastpose.ops.contrastive.tiles import (
    DOT_PRECISION,
    OPERANDS,
    backward_tiles,
    forward_tiles,
    key_splits,
    padded_rows,
    padded_width,
    panel_rows,
    product_tiles,
    takes_panels,
    weights_tiles,
)
from fastpose.ops.launch import ceil_div, launch, rows_contiguous

# Below this temperature exp(s (cos - 1)) can leave float32's normal numbers, which end at 2**-126: 2 s log2(e) > 125,
# less a bit for rows that rounding to bf16 made longer than 1.
LOWEST_FIXED_BOUND = 2 * 1.4426950408889634 / 125


@functools.cache
def _processors_and_capability(device: torch.device) -> tuple[int, int]:
    if device.type != "cuda":
        return 4, 80  # the interpreter: any numbers will do
    found = torch.cuda.get_device_properties(device)
    return found.multi_processor_count, 10 * found.major + found.minor


def needs_row_maxima(temperature: float) -> bool:
    """Return whether rows need their maxima; 0 stands for a temperature on the device, which is not waited for."""
    return temperature < LOWEST_FIXED_BOUND


def fused_forward(
    x: Tensor,  # [N, D]
    y: Tensor | None,
    labels: Tensor | None,  # [N], where y is none
    counts: Tensor | None,  # [2, N]
    tau: Tensor | None,  # overrides `temperature`
    temperature: float,
    symmetric: bool,
    reduction: str,
    precision: str,
) -> tuple[Tensor, State]:
    """Compute the loss in two launches."""
    from fastpose.ops.contrastive import kernels_forward as kernels

    count, width = x.shape
    x, y = rows_contiguous(x), None if y is None else rows_contiguous(y)
    paired = y is not None
    total = 2 * count if paired else count
    anchors = 2 * count if symmetric else count
    columns, padded = padded_width(width), padded_rows(total)
    loss, state = new_forward(x, paired, reduction, precision)
    bias = x.new_empty(padded, dtype=torch.float32)
    positive = x.new_empty(count, dtype=torch.float32)
    programs = count + padded - total
    arrivals = x.new_empty(programs, dtype=torch.int32)
    # Where a kernel does not read an argument, a tensor at hand stands in.
    common = {
        "ROW_MAX": needs_row_maxima(temperature),
        "PAIRED": paired,
        "TAU_IS_TENSOR": tau is not None,
    }
    tau_and_temperature = (state.z if tau is None else tau, temperature)

    block, warps = row_block(width)
    launch(
        kernels.normalize_kernel, (programs,),
        x, y if paired else x, x if counts is None else counts, state.z, state.inverse, bias, positive,
        state.log_sums, state.pulls, arrivals, *tau_and_temperature, count, width, x.stride(0),
        y.stride(0) if y is not None else 0,
        WIDTH=columns, BLOCK=block, COUNTED=counts is not None, num_warps=warps,
        enable_fp_fusion=True, **common,
    )  # fmt: skip
    processors, capability = _processors_and_capability(x.device)
    tiles = forward_tiles(columns, total, precision, capability, paired)
    row_tiles = ceil_div(anchors, tiles.rows)
    assert row_tiles < programs  # a counter for each, and one more
    splits = key_splits(row_tiles, ceil_div(total, tiles.keys), processors * tiles.programs)
    partial = x.new_empty((4, splits, anchors), dtype=torch.float32)
    row_loss = x.new_empty(anchors, dtype=torch.float32)
    launch(
        kernels.sums_kernel, (row_tiles, splits),
        state.z, bias, state.z if labels is None else labels, positive, partial, row_loss, state.log_sums,
        state.pulls, loss, state.scale, arrivals, *tau_and_temperature, count, anchors, total,
        WIDTH=columns, PRECISION=DOT_PRECISION[precision], BLOCK=1024, REDUCTION=reduction,
        enable_fp_fusion=True, **common, **tiles.meta(),
    )  # fmt: skip
    return loss, state


def fused_backward(
    grad: Tensor,  # [N] or []
    x: Tensor,
    y: Tensor | None,
    labels: Tensor | None,
    tau: Tensor | None,
    temperature: float,
    state: State,
    symmetric: bool,
    precision: str,
    needs: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Compute the gradients in two launches; with panels of weights, one more, and two for each further panel.

    ``needs`` says which of x, y, tau take a gradient.
    """
    from fastpose.ops.contrastive import kernels_backward as kernels

    count, width = x.shape
    x, y = rows_contiguous(x), None if y is None else rows_contiguous(y)
    paired = y is not None
    total = 2 * count if paired else count
    anchors = 2 * count if symmetric else count
    padded, columns = state.z.shape
    grad = grad.float()
    grad_stride = grad.stride(0) if grad.dim() else 0
    arrivals = x.new_empty((), dtype=torch.int32)
    common = {"PAIRED": paired, "TAU_IS_TENSOR": tau is not None}
    tau_and_temperature = (state.z if tau is None else tau, temperature)
    losses = (
        state.z, state.z if labels is None else labels, state.log_sums, state.pulls, state.scale, grad,
        grad_stride,
    )  # fmt: skip
    sizes = (*tau_and_temperature, count, anchors, total, padded)

    processors, capability = _processors_and_capability(x.device)
    row_max = needs_row_maxima(temperature)
    constants = {"WIDTH": columns, "PRECISION": DOT_PRECISION[precision], "ROW_MAX": row_max, **common}
    plain = paired and not row_max
    tiles = backward_tiles(columns, total, precision, capability, plain)
    panels = takes_panels(columns, total, tiles)
    if panels:
        tiles = product_tiles(columns, precision, capability)
        rows = panel_rows(columns, padded, tiles, processors, state.z.itemsize)
    else:
        rows = total
    column_tiles = columns // tiles.columns
    splits = key_splits(ceil_div(rows, tiles.rows) * column_tiles, ceil_div(count, tiles.keys), processors)
    pairs = x.new_empty((splits, padded, columns), dtype=torch.float32)
    if panels:
        panel = x.new_empty((rows, padded), dtype=state.z.dtype)
        weighing = weights_tiles(precision, capability, plain)
        for first in range(0, total, rows):
            height = min(rows, total - first)
            launch(
                kernels.weights_kernel, (ceil_div(height, weighing.rows), ceil_div(total, weighing.keys)),
                *losses, panel, arrivals, *sizes, first, enable_fp_fusion=True, **constants, **weighing.meta(),
            )  # fmt: skip
            launch(
                kernels.product_kernel, (ceil_div(height, tiles.rows), column_tiles, splits),
                panel, state.z, pairs, anchors, total, padded, first,
                WIDTH=columns, PRECISION=DOT_PRECISION[precision], enable_fp_fusion=True, **tiles.meta(),
            )  # fmt: skip
    else:
        launch(
            kernels.pairs_grad_kernel, (ceil_div(total, tiles.rows), column_tiles, splits),
            *losses, pairs, arrivals, *sizes, enable_fp_fusion=True, **constants, **tiles.meta(),
        )  # fmt: skip
    dx = torch.empty_like(x, memory_format=torch.contiguous_format) if needs[0] else None
    dy = torch.empty_like(y, memory_format=torch.contiguous_format) if y is not None and needs[1] else None
    dtau = torch.empty_like(tau) if needs[2] and tau is not None else None
    dots = x.new_empty(count, dtype=torch.float32)
    block, warps = row_block(width)
    launch(
        kernels.rows_grad_kernel, (count,),
        pairs, x, y if paired else x, state.inverse, state.pulls, state.scale, grad, grad_stride,
        x if dx is None else dx, x if dy is None else dy, dots, dots if dtau is None else dtau, arrivals,
        *tau_and_temperature, count, width, x.stride(0), y.stride(0) if y is not None else 0, padded, splits,
        WIDTH=columns, BLOCK=block, NEEDS_X=dx is not None, NEEDS_Y=dy is not None,
        NEEDS_TAU=dtau is not None, num_warps=warps, enable_fp_fusion=True, **common,
    )  # fmt: skip
    return dx, dy, dtau


def row_block(width: int) -> tuple[int, int]:
    """Return the columns that a program takes at a time where it has one row, and its warps."""
    block = min(max(16, 1 << (width - 1).bit_length()), 1024)
    return block, 4 if block > 256 else 1


def new_forward(x: Tensor, paired: bool, reduction: str, precision: str) -> tuple[Tensor, State]:
    """Allocate the results of ``fused_forward``, to be written."""
    count, width = x.shape
    total = 2 * count if paired else count
    loss = x.new_empty((count,) if reduction == "none" else (), dtype=torch.float32)
    z = x.new_empty((padded_rows(total), padded_width(width)), dtype=OPERANDS[precision])
    inverse, log_sums, pulls = (x.new_empty(total, dtype=torch.float32) for _ in range(3))
    return loss, State(z, inverse, log_sums, pulls, x.new_empty((), dtype=torch.float32))
