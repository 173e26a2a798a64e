"""Launches of the Triton kernels: tiles, splits of the keys, buffers."""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from fastpose.ops._launch import ceil_div, launch, rows_contiguous

# Below this temperature exp(s (cos - 1)) times 1 / (Σ of such) can leave float32: 2 s log2(e) > 126.
LOWEST_FIXED_BOUND = 2 * 1.4426950408889634 / 126
SMALL = 2048  # rows up to which tiles are small
ROW_ALIGNMENT = 128  # of padded rows: a multiple of every tile's height
# Operands by precision. fp16 rows go through tf32, which keeps their 10 bits of mantissa over float32's range;
# float32 rows through three tf32 products, accurate to float32.
OPERANDS = {"bf16": torch.bfloat16, "tf32": torch.float32, "fp32": torch.float32}
DOT_PRECISION = {"bf16": "tf32", "tf32": "tf32", "fp32": "tf32x3"}  # has no effect on bf16
DEFAULT_PRECISION = {torch.bfloat16: "bf16", torch.float16: "tf32", torch.float32: "fp32"}


@dataclass(frozen=True, slots=True)
class Tiles:
    """How one kernel cuts the matrix of pairs: rows × keys, operands' columns, columns of output."""

    rows: int
    keys: int
    depth: int
    columns: int
    warps: int
    stages: int

    def meta(self) -> dict[str, int]:
        return {
            "BLOCK_M": self.rows,
            "BLOCK_N": self.keys,
            "BLOCK_D": self.depth,
            "num_warps": self.warps,
            "num_stages": self.stages,
        }


def padded_width(width: int) -> int:
    """Columns of the operands: a power of two, and beyond 256 whole blocks of 128."""
    width = int(width)  # under torch.compile the width is part of the shape compiled for
    return max(16, 1 << (width - 1).bit_length()) if width <= 256 else ceil_div(width, 128) * 128


def padded_rows(rows: int) -> int:
    return ceil_div(rows, ROW_ALIGNMENT) * ROW_ALIGNMENT


def forward_tiles(width: int, rows: int, precision: str, capability: int, paired: bool) -> Tiles:
    """For operands of ``padded_width`` ``width``; small problems take small tiles to fill the device.

    Here and below: the largest tiles that the compiler fits into registers on the capability (80, 90, ...).
    """
    if precision != "bf16":
        return Tiles(64, 64, min(width, 32), 0, 4, 2 if precision == "fp32" else 3)
    depth = width if width <= 256 else 64
    if rows <= SMALL:
        return Tiles(64, 64, depth, 0, 4, 2)
    keys = 128 if paired and width != 256 else 64  # comparing labels takes registers
    return Tiles(128, keys, depth, 0, 8, 2 if capability < 90 else 3)


def backward_tiles(width: int, rows: int, precision: str, capability: int, plain: bool) -> Tiles:
    """``plain``: paired rows under the fixed bound; labels and row maxima take more registers."""
    if precision != "bf16":
        roomy = plain and (precision == "tf32" or capability >= 90)
        keys = 32 if precision == "fp32" and not roomy else 64
        return Tiles(64, keys, min(width, 32), min(width, 64 if roomy else 32), 4, 2)
    if width > 256:
        columns = 256 if width % 256 == 0 and plain else 128
        return Tiles(128, 64, 64, columns, 8, 2) if rows > SMALL else Tiles(64, 64, 64, 128, 8, 2)
    if rows <= SMALL:
        return Tiles(64, 64, width, width, 8 if width == 256 else 4, 2)
    if width == 256:
        return Tiles(64 if capability < 90 else 128, 64, width, width, 8, 2)
    return Tiles(128, 128 if 90 <= capability < 100 else 64, width, width, 8, 2)


@functools.cache
def _processors_and_capability(device: torch.device) -> tuple[int, int]:
    if device.type != "cuda":
        return 4, 80  # the interpreter: any numbers will do
    found = torch.cuda.get_device_properties(device)
    return found.multi_processor_count, 10 * found.major + found.minor


def key_splits(programs: int, key_tiles: int, processors: int) -> int:
    """Into how many parts the keys are cut, so that a small problem occupies every multiprocessor."""
    return max(1, min(processors // programs, key_tiles, 16))


def needs_row_maxima(temperature: float) -> bool:
    """0 stands for a temperature on the device, which is not waited for."""
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
) -> tuple[Tensor, ...]:
    """Three launches. Returns loss, z, inverse lengths, log-sums, pulls, scale (see the kernels)."""
    from fastpose.ops.contrastive import kernels

    count, width = x.shape
    x, y = rows_contiguous(x), None if y is None else rows_contiguous(y)
    paired = y is not None
    total = 2 * count if paired else count
    anchors = 2 * count if symmetric else count
    columns, padded = padded_width(width), padded_rows(total)
    z = x.new_empty((padded, columns), dtype=OPERANDS[precision])
    inverse, log_sums, pulls = (x.new_empty(total, dtype=torch.float32) for _ in range(3))
    bias = x.new_empty(padded, dtype=torch.float32)
    positive = x.new_empty(count, dtype=torch.float32)
    scale = x.new_empty((), dtype=torch.float32)
    loss = x.new_empty((count,) if reduction == "none" else (), dtype=torch.float32)
    # Where a kernel does not read an argument, a tensor at hand stands in.
    common = {
        "ROW_MAX": needs_row_maxima(temperature),
        "PAIRED": paired,
        "TAU_IS_TENSOR": tau is not None,
    }
    tau_and_temperature = (z if tau is None else tau, temperature)

    block = min(max(16, 1 << (width - 1).bit_length()), 1024)
    launch(
        kernels.normalize_kernel, (count + padded - total,),
        x, y if paired else x, z if counts is None else counts, z, inverse, bias, positive,
        *tau_and_temperature, count, width, x.stride(0), y.stride(0) if paired else 0,
        WIDTH=columns, BLOCK=block, COUNTED=counts is not None, num_warps=4 if block > 256 else 1, **common,
    )  # fmt: skip
    processors, capability = _processors_and_capability(x.device)
    tiles = forward_tiles(columns, total, precision, capability, paired)
    row_tiles = ceil_div(anchors, tiles.rows)
    splits = key_splits(row_tiles, ceil_div(total, tiles.keys), processors)
    partial = x.new_empty((4, splits, anchors), dtype=torch.float32)
    launch(
        kernels.sums_kernel, (row_tiles, splits),
        z, bias, z if labels is None else labels, partial, *tau_and_temperature, count, anchors, total,
        WIDTH=columns, PRECISION=DOT_PRECISION[precision], **common, **tiles.meta(),
    )  # fmt: skip
    block = min(max(128, 1 << (count - 1).bit_length()), 2048)
    launch(
        kernels.finish_kernel, (1,),
        partial, bias, positive, log_sums, pulls, loss, scale, *tau_and_temperature, count, anchors, splits,
        BLOCK=block, SYMMETRIC=symmetric, REDUCTION=reduction, num_warps=min(block // 64, 16), **common,
    )  # fmt: skip
    return loss, z, inverse, log_sums, pulls, scale


def fused_backward(
    grad: Tensor,  # [N] or []
    x: Tensor,
    y: Tensor | None,
    labels: Tensor | None,
    tau: Tensor | None,
    temperature: float,
    z: Tensor,
    inverse: Tensor,
    log_sums: Tensor,
    pulls: Tensor,
    scale: Tensor,
    symmetric: bool,
    precision: str,
    needs: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Two launches, three with the gradient of ``tau``. ``needs`` says which of x, y, tau take one."""
    from fastpose.ops.contrastive import kernels

    count, width = x.shape
    x, y = rows_contiguous(x), None if y is None else rows_contiguous(y)
    paired = y is not None
    total = 2 * count if paired else count
    anchors = 2 * count if symmetric else count
    padded, columns = z.shape
    grad = grad.float()
    grad_stride = grad.stride(0) if grad.dim() else 0
    common = {"PAIRED": paired, "TAU_IS_TENSOR": tau is not None}
    tau_and_temperature = (z if tau is None else tau, temperature)

    processors, capability = _processors_and_capability(x.device)
    row_max = needs_row_maxima(temperature)
    tiles = backward_tiles(columns, total, precision, capability, paired and not row_max)
    row_tiles, column_tiles = ceil_div(total, tiles.rows), columns // tiles.columns
    splits = key_splits(row_tiles * column_tiles, ceil_div(count, tiles.keys), processors)
    pairs = x.new_empty((splits, padded, columns), dtype=torch.float32)
    launch(
        kernels.pairs_grad_kernel, (row_tiles, column_tiles, splits),
        z, z if labels is None else labels, log_sums, pulls, scale, grad, grad_stride, pairs,
        *tau_and_temperature, count, anchors, total, padded,
        WIDTH=columns, BLOCK_O=tiles.columns, ROW_MAX=row_max,
        PRECISION=DOT_PRECISION[precision], **common, **tiles.meta(),
    )  # fmt: skip
    dx = torch.empty_like(x, memory_format=torch.contiguous_format) if needs[0] else None
    dy = torch.empty_like(y, memory_format=torch.contiguous_format) if paired and needs[1] else None
    dots = x.new_empty(count, dtype=torch.float32)
    block = min(max(16, 1 << (width - 1).bit_length()), 1024)
    launch(
        kernels.rows_grad_kernel, (count,),
        pairs, x, y if paired else x, inverse, pulls, scale, grad, grad_stride,
        z if dx is None else dx, z if dy is None else dy, dots, *tau_and_temperature,
        count, width, x.stride(0), y.stride(0) if paired else 0, padded, splits,
        WIDTH=columns, BLOCK=block, NEEDS_X=dx is not None, NEEDS_Y=dy is not None,
        num_warps=4 if block > 256 else 1, **common,
    )  # fmt: skip
    dtau = None
    if needs[2]:
        dtau = torch.empty_like(tau)
        launch(kernels.tau_grad_kernel, (1,), dots, dtau, tau, count, BLOCK=1024, num_warps=4)
    return dx, dy, dtau


def forward_shapes(
    count: int, width: int, paired: bool, reduction: str, precision: str
) -> tuple[list[tuple], torch.dtype]:
    """Shapes of ``fused_forward``'s results, and the dtype of the second."""
    total = 2 * count if paired else count
    rows = (padded_rows(total), padded_width(width))
    loss = (count,) if reduction == "none" else ()
    return [loss, rows, (total,), (total,), (total,), ()], OPERANDS[precision]
