"""The public operators: checks and choice of backend. They have no gradients."""

import torch
from torch import Tensor

from fastpose._native import extension_obstacle
from fastpose.ops.arguments import describe, three_integers
from fastpose.ops.backend import resolve_backend
from fastpose.ops.layers.int8_conv.reference import int8_conv3d_reference
from fastpose.ops.layers.int8_conv.weights import Int8Weights

CHANNELS_LAST = torch.channels_last_3d


def int8_conv3d(
    x: Tensor,  # [B, C, T, H, W]
    weights: Int8Weights,
    stride: int | tuple[int, int, int] = 1,
    *,
    residual: Tensor | None = None,  # [B, C', T', H', W']
    relu: bool = False,
    backend: str = "auto",
) -> Tensor:  # [B, C', T', H', W']
    """Convolve x in whole numbers, scale and shift, add ``residual``, then apply ReLU on request.

    The channels of each place of x are rounded to one of 256 levels of their own range, which includes zero, while
    they are read: nothing is calibrated, and a clip's result does not depend on others of its batch. Padded by
    half the odd-sided kernel; T' is ⌈T / stride⌉, and so on. A place with NaN or infinity gives NaN.

    Args:
        backend: "native" (C++, on the CPU; x is used and y made in channels_last_3d order; with AVX512-VNNI four
            products of bytes at a time, elsewhere pairs of 16 bits, which is slower than float32), "reference"
            (torch, anywhere) or "auto": the first that can serve.

    Raises:
        ValueError: an argument is wrong, a gradient is wanted, or the backend cannot serve the call.
    """
    op = "int8_conv3d"
    strides = three_integers(op, "stride", stride, 1)
    out_channels, channels, *kernel = weights.shape
    if (
        not isinstance(x, Tensor)
        or x.dtype != torch.float32
        or x.ndim != 5
        or x.shape[1] != channels
        or 0 in x.shape
    ):
        raise ValueError(f"{op}: x must be float32 [B, {channels}, T, H, W] and not empty, got {describe(x)}")
    shape = (
        len(x),
        out_channels,
        *((side - 1) // step + 1 for side, step in zip(x.shape[2:], strides, strict=True)),
    )
    if residual is not None and (residual.dtype != torch.float32 or tuple(residual.shape) != shape):
        raise ValueError(f"{op}: residual must be float32 {shape}, got {describe(residual)}")
    _refuse_gradients(op, x, residual)
    if resolve_backend(op, backend, {"native": _obstacle(x)}) == "reference":
        return int8_conv3d_reference(x, weights, strides, residual, relu)
    x = x.contiguous(memory_format=CHANNELS_LAST)
    residual = None if residual is None else residual.contiguous(memory_format=CHANNELS_LAST)
    y = torch.empty(shape, dtype=x.dtype, memory_format=CHANNELS_LAST)
    _convolve(tuple(x.shape), x, weights, kernel, strides, residual, relu, y)
    return y


def int8_linear(x: Tensor, weights: Int8Weights, *, backend: str = "auto") -> Tensor:
    """Map rows [..., C] → [..., C'] as ``int8_conv3d`` does places, by weights [C', C].

    Raises:
        ValueError: as ``int8_conv3d``.
    """
    op = "int8_linear"
    out_channels, channels, *kernel = weights.shape
    if not isinstance(x, Tensor) or x.dtype != torch.float32 or x.ndim < 1 or x.shape[-1] != channels:
        raise ValueError(f"{op}: x must be float32 [..., {channels}], got {describe(x)}")
    _refuse_gradients(op, x, None)
    backend = resolve_backend(op, backend, {"native": _obstacle(x)})
    shape = (*x.shape[:-1], out_channels)
    rows = x.reshape(-1, channels)
    if len(rows) == 0:
        return x.new_empty(shape)
    if backend == "reference":
        volume = rows.T[None, :, :, None, None]
        return int8_conv3d_reference(volume, weights, (1, 1, 1), None, False)[0, ..., 0, 0].T.reshape(shape)
    y = x.new_empty(len(rows), out_channels)
    _convolve((1, channels, len(rows), 1, 1), rows.contiguous(), weights, kernel, (1, 1, 1), None, False, y)
    return y.view(shape)


def _obstacle(x: Tensor) -> str | None:
    if x.device.type != "cpu":
        return f"runs on the CPU, and x is on {x.device}"
    return extension_obstacle()


def _refuse_gradients(op: str, x: Tensor, residual: Tensor | None) -> None:
    if torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in (x, residual)
    ):
        raise ValueError(f"{op} has no gradients: call it under torch.inference_mode()")


def _convolve(
    shape: tuple[int, ...],
    x: Tensor,
    weights: Int8Weights,
    kernel: list[int],
    stride: tuple[int, int, int],
    residual: Tensor | None,
    relu: bool,
    y: Tensor,
) -> None:
    from fastpose._native import native

    native.int8_conv(
        shape=shape, out_channels=weights.shape[0], kernel=kernel, stride=stride, threads=torch.get_num_threads(),
        input=x.data_ptr(), weights=weights.packed.data_ptr(), weight_sums=weights.sums.data_ptr(),
        output=y.data_ptr(), scale=weights.scale.data_ptr(), shift=weights.shift.data_ptr(),
        residual=0 if residual is None else residual.data_ptr(), relu=relu,
    )  # fmt: skip
