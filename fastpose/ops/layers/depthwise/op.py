"""The public depthwise convolution: checks, registration with torch, and choice of backend."""

import torch
from torch import Tensor

from fastpose.ops.backend import resolve_backend
from fastpose.ops.layers.depthwise.checks import check_depthwise
from fastpose.ops.layers.depthwise.reference import depthwise_conv3d_reference
from fastpose.ops.native_call import (
    NATIVE_DTYPES,
    autocast_dtype,
    dense_floats,
    element_type,
    transform_obstacle,
)
from fastpose.ops.once import call_once_differentiable

CHANNELS_LAST = torch.channels_last_3d


def depthwise_conv3d(
    x: Tensor,  # [B, C, T, H, W]
    weight: Tensor,  # [C, 1, kt, kh, kw]
    stride: int | tuple[int, int, int] = 1,
    backend: str = "auto",
) -> Tensor:  # [B, C, T', H', W']
    """Convolve each channel with its own odd-sided kernel, padded by half of it with zeros; no bias.

    T' is ⌈T / stride⌉, and so on. Autocast lowers x to its dtype, as it does for convolutions.

    Args:
        x: floating, any strides; it is used and the result made in channels_last_3d order by "native".
        weight: floating; kept as it is, whatever the format of x.
        stride: in frames, rows and columns, or one for all.
        backend: "native" (C++, on the CPU, float32 and bfloat16, sums in float32, bitwise identical for any
            number of threads), "reference" (torch's convolution, anywhere) or "auto": the first that can serve.
            The first is differentiable once.

    Raises:
        ValueError: an argument is wrong, or the backend cannot serve the call.
    """
    stride = check_depthwise("depthwise_conv3d", x, weight, stride)
    x = x.to(autocast_dtype(x))
    backend = resolve_backend("depthwise_conv3d", backend, {"native": native_depthwise_obstacle(x, weight)})
    if backend == "reference":
        return depthwise_conv3d_reference(x, weight, stride)
    return torch.ops.fastpose.depthwise_conv3d(x, weight, stride)


def native_depthwise_obstacle(x: Tensor, weight: Tensor) -> str | None:
    """Return why native code cannot convolve x with weight, or None."""
    if x.device.type != "cpu":
        return f"runs on the CPU, and x is on {x.device}"
    if x.dtype not in NATIVE_DTYPES:
        return f"does not take {x.dtype}"
    return "would round its float64 weight" if weight.dtype == torch.float64 else transform_obstacle()


# Opaque to torch.compile. Results are in channels_last_3d order.
_library = torch.library.Library("fastpose", "FRAGMENT")
_library.define("depthwise_conv3d(Tensor x, Tensor weight, int[3] stride) -> Tensor")
_library.define(
    "depthwise_conv3d_backward(Tensor gradient, Tensor x, Tensor weight, int[3] stride) "
    "-> (Tensor dx, Tensor dweight)"
)


@torch.library.register_fake("fastpose::depthwise_conv3d", lib=_library)
def new_output(x: Tensor, weight: Tensor, stride: tuple[int, int, int]) -> Tensor:
    """Allocate where the convolution of x goes."""
    sides = [(side - 1) // step + 1 for side, step in zip(x.shape[2:], stride, strict=True)]
    return torch.empty((*x.shape[:2], *sides), dtype=x.dtype, device=x.device, memory_format=CHANNELS_LAST)


@torch.library.register_fake("fastpose::depthwise_conv3d_backward", lib=_library)
def _new_gradients(gradient, x, weight, stride):
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=CHANNELS_LAST)
    return dx, torch.empty(weight.shape, dtype=torch.float32, device=weight.device)


@torch.library.impl(_library, "depthwise_conv3d", "CPU")
def _forward(x, weight, stride):
    from fastpose._native import native

    x, (filters,) = x.contiguous(memory_format=CHANNELS_LAST), dense_floats(weight)
    output = new_output(x, weight, stride)
    native.depthwise_conv(
        shape=x.shape, kernel=weight.shape[2:], stride=stride, element=element_type(x),
        threads=torch.get_num_threads(), input=x.data_ptr(), weight=filters.data_ptr(),
        output=output.data_ptr(),
    )  # fmt: skip
    return output


@torch.library.impl(_library, "depthwise_conv3d_backward", "CPU")
def _backward(gradient, x, weight, stride):
    from fastpose._native import native

    x, gradient = (tensor.contiguous(memory_format=CHANNELS_LAST) for tensor in (x, gradient))
    (filters,) = dense_floats(weight)
    dx, dweight = _new_gradients(gradient, x, weight, stride)
    native.depthwise_conv_gradients(
        shape=x.shape, kernel=weight.shape[2:], stride=stride, element=element_type(x),
        threads=torch.get_num_threads(), input=x.data_ptr(), gradient=gradient.data_ptr(),
        weight=filters.data_ptr(), input_gradient=dx.data_ptr(), weight_gradient=dweight.data_ptr(),
    )  # fmt: skip
    return dx, dweight


class _DepthwiseConv(torch.autograd.Function):
    @staticmethod
    def forward(x, weight, stride):
        with torch._C._AutoDispatchBelowAutograd():
            return torch.ops.fastpose.depthwise_conv3d(x, weight, stride)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, ctx.stride = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        dx, dweight = call_once_differentiable(
            torch.ops.fastpose.depthwise_conv3d_backward, "depthwise_conv3d", gradient, x, weight, ctx.stride
        )
        return dx, dweight.to(weight.dtype), None


_library.impl("depthwise_conv3d", _DepthwiseConv.apply, "Autograd")
