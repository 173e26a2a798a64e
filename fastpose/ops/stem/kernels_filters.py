"""Filters of the stem in the order in which the lanes of its forward kernel take them.

A lane's share of a matrix is fixed by the instruction (PTX ISA, mma.m16n8k8 with .tf32). Filters and the pixels that
lanes see are stored in the order of lanes, so that 16-byte loads bring the operands to where they are used, and the
kernel's outputs are numbered such that a lane's sums are neighbours in memory. The order is one of speed alone:
reshapes undo it, whatever the layout.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastpose.ops.launch import ceil_div, launch

COLUMNS, OUTPUTS = tl.constexpr(16), tl.constexpr(32)  # of a tile


@triton.jit
def cut_to_tf32(x):
    """Return the first 11 significant bits."""
    return (x.to(tl.int32, bitcast=True) & -0x2000).to(tl.float32, bitcast=True)


@triton.jit
def round_to_tf32(x):
    """Return the nearest number of 11 significant bits."""
    return cut_to_tf32((x.to(tl.int32, bitcast=True) + 0x1000).to(tl.float32, bitcast=True))


@triton.jit
def arrange_filters(
    weight,  # [OUT_CHANNELS, C, KT, KH, KW] of the strides
    filters,  # float32 [C, KT, output tiles, PARTS, KH, TAPS * OUTPUTS]
    pixels,  # int32 [COLUMNS * TAPS]: pixels to the right of a tile's first
    output_stride, channel_stride, kt_stride, ky_stride, kx_stride,
    num_elements, SX,
    OUT_CHANNELS: tl.constexpr, KT: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, TAPS: tl.constexpr,
    PARTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the operands of the products in the order of lanes; 0 for outputs and taps that are none."""
    output_tiles: tl.constexpr = (OUT_CHANNELS + OUTPUTS - 1) // OUTPUTS
    element = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    place = element % (TAPS * OUTPUTS)  # [TAPS / 8, 2, 8, 4, 2, 2]
    line = element // (TAPS * OUTPUTS)
    tap = place // 256 * 8 + place % 2 * 4 + place // 4 % 4
    group = place // 128 % 2 * 2 + place // 2 % 2  # of 8 columns of the product
    column = place // 16 % 8
    ky = line % KH
    part = line // KH % PARTS
    first_output = line // (KH * PARTS) % output_tiles * OUTPUTS
    output = first_output + column // 2 * 8 + group * 2 + column % 2
    volume = (line // (KH * PARTS * output_tiles)).to(tl.int64)
    source = weight + output.to(tl.int64) * output_stride + volume // KT * channel_stride
    source += volume % KT * kt_stride + ky.to(tl.int64) * ky_stride + tap.to(tl.int64) * kx_stride
    known = (element < num_elements) & (output < OUT_CHANNELS) & (tap < KW)
    value = tl.load(source, mask=known, other=0.0).to(tl.float32)
    high = round_to_tf32(value)
    value = tl.where(part == 0, high, round_to_tf32(value - high))
    tl.store(filters + element, value, mask=element < num_elements)
    if tl.program_id(0) == 0:
        pixel = tl.arange(0, COLUMNS * TAPS)  # [TAPS / 8, 8, 4, 2, 2]
        pixel_tap = pixel // 128 * 8 + pixel % 2 * 4 + pixel // 4 % 4
        tl.store(pixels + pixel, (pixel // 2 % 2 * 8 + pixel // 16 % 8) * SX + pixel_tap)


@triton.jit
def load_line(line, TAPS: tl.constexpr):
    """Return [TAPS, OUTPUTS] of the kernel's row."""
    flat = tl.load(line + tl.arange(0, TAPS * OUTPUTS))
    flat = flat.reshape(TAPS // 8, OUTPUTS // 16, 8, 4, 2, 2).permute(0, 5, 3, 1, 4, 2)
    return flat.reshape(TAPS, OUTPUTS)


@triton.jit
def load_lines(filters, KY: tl.constexpr, KH: tl.constexpr, TAPS: tl.constexpr, PARTS: tl.constexpr):
    """Return the parts of the kernel's row, the high one first."""
    lines = (load_line(filters + KY * (TAPS * OUTPUTS), TAPS),)
    if PARTS == 2:
        lines = lines + (load_line(filters + (KH + KY) * (TAPS * OUTPUTS), TAPS),)  # noqa: RUF005
    return lines


def arranged_filters(weight: Tensor, constants: dict, column_stride: int) -> tuple[Tensor, Tensor]:
    """Return (filters, pixels) as ``convolve_maps`` takes them."""
    out_channels, channels, *kernel = weight.shape
    lines = channels * kernel[0] * kernel[1] * ceil_div(out_channels, OUTPUTS.value) * constants["PARTS"]
    filters = weight.new_empty(lines * constants["TAPS"] * OUTPUTS.value, dtype=torch.float32)
    pixels = weight.new_empty(COLUMNS.value * constants["TAPS"], dtype=torch.int32)
    launch(
        arrange_filters, (ceil_div(filters.numel(), 1024),),
        weight, filters, pixels, *weight.stride(), filters.numel(), column_stride,
        OUT_CHANNELS=out_channels, KT=kernel[0], KH=kernel[1], KW=kernel[2], TAPS=constants["TAPS"],
        PARTS=constants["PARTS"], BLOCK=1024, num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    return filters, pixels
