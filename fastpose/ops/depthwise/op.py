"""The public depthwise convolution: checks, registration with torch, and choice of backend."""

import torch
from torch import Tensor

from fastpose.ops._backend import resolve_backend
from fastpose.ops._native_call import NATIVE_DTYPES, autocast_input, element_type, transform_obstacle
from fastpose.ops._once import call_once_differentiable
from fastpose.ops.depthwise.reference import depthwise_conv3d_reference

CHANNELS_LAST = torch.channels_last_3d


def depthwise_conv3d(
    x: Tensor,  # [B, C, T, H, W]
    weight: Tensor,  # [C, 1, kt, kh, kw]
    stride: int | tuple[int, int, int] = 1,
    backend: str = "auto",
) -> Tensor:  # [B, C, T', H', W']
    """Convolve each channel with its own odd-sided kernel, padded by half of it with zeros; no bias.

    T' is ⌈T / stride⌉, and so on. Autocast lowers x to its number format, as it does for convolutions.

    Args:
        x: floating, any strides; it is used and the result made in channels_last_3d order by "native".
        weight: floating; kept as it is, whatever the format of x.
        stride: in frames, rows and columns, or one for all.
        backend: "native" (C++, on the CPU, float32 and bfloat16, sums in float32, bits that do not depend on the
            number of threads), "reference" (torch's convolution, anywhere) or "auto": the first that can serve.
            The first is differentiable once.

    Raises:
        ValueError: an argument is wrong, or the backend cannot serve the call.
    """
    stride = _checked_stride(stride)
    _check_tensors(x, weight)
    x = autocast_input(x)
    backend = resolve_backend("depthwise_conv3d", backend, _native_obstacle(x, weight), "does not exist")
    if backend == "reference":
        return depthwise_conv3d_reference(x, weight, stride)
    return torch.ops.fastpose.depthwise_conv3d(x, weight, stride)


def _checked_stride(stride: int | tuple[int, int, int]) -> tuple[int, int, int]:
    strides = (stride,) * 3 if isinstance(stride, int) else tuple(stride)
    if len(strides) != 3 or any(
        isinstance(step, bool) or not isinstance(step, int) or step < 1 for step in strides
    ):
        raise ValueError(f"depthwise_conv3d: stride must be one or three positive integers, got {stride!r}")
    return strides


def _check_tensors(x: Tensor, weight: Tensor) -> None:
    for name, tensor in {"x": x, "weight": weight}.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.ndim != 5:
            got = (
                f"{tensor.dtype} {tuple(tensor.shape)}"
                if isinstance(tensor, Tensor)
                else type(tensor).__name__
            )
            raise ValueError(
                f"depthwise_conv3d: {name} must be a floating tensor of five dimensions, got {got}"
            )
    if 0 in x.shape:
        raise ValueError(f"depthwise_conv3d: x must not be empty, got {tuple(x.shape)}")
    if (
        weight.shape[0] != x.shape[1]
        or weight.shape[1] != 1
        or any(side % 2 == 0 for side in weight.shape[2:])
    ):
        raise ValueError(
            f"depthwise_conv3d: weight must be [{x.shape[1]}, 1, kt, kh, kw] with odd sides, "
            f"got {tuple(weight.shape)}"
        )
    if weight.device != x.device:
        raise ValueError(f"depthwise_conv3d: x is on {x.device}, but weight on {weight.device}")


def _native_obstacle(x: Tensor, weight: Tensor) -> str | None:
    if x.device.type != "cpu":
        return f"runs on the CPU, and x is on {x.device}"
    if x.dtype not in NATIVE_DTYPES:
        return f"does not take {x.dtype}"
    return "would round its float64 weight" if weight.dtype == torch.float64 else transform_obstacle()


# Opaque to torch.compile. Results are in channels_last_3d order.
_library = torch.library.Library("fastpose", "FRAGMENT")
_library.define("depthwise_conv3d(Tensor x, Tensor weight, int[3] stride) -> Tensor")
_library.define(
    "depthwise_conv3d_input_gradient(Tensor gradient, Tensor weight, SymInt[5] shape, int[3] stride) -> Tensor"
)
_library.define(
    "depthwise_conv3d_weight_gradient(Tensor gradient, Tensor x, Tensor weight, int[3] stride) -> Tensor"
)


@torch.library.register_fake("fastpose::depthwise_conv3d", lib=_library)
def _new_output(x, weight, stride):
    sides = [(side - 1) // step + 1 for side, step in zip(x.shape[2:], stride, strict=True)]
    return torch.empty((*x.shape[:2], *sides), dtype=x.dtype, device=x.device, memory_format=CHANNELS_LAST)


@torch.library.register_fake("fastpose::depthwise_conv3d_input_gradient", lib=_library)
def _new_input_gradient(gradient, weight, shape, stride):
    return torch.empty(shape, dtype=gradient.dtype, device=gradient.device, memory_format=CHANNELS_LAST)


@torch.library.register_fake("fastpose::depthwise_conv3d_weight_gradient", lib=_library)
def _new_weight_gradient(gradient, x, weight, stride):
    return torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)


@torch.library.impl(_library, "depthwise_conv3d", "CPU")
def _forward(x, weight, stride):
    from fastpose._native import native

    x, filters = x.contiguous(memory_format=CHANNELS_LAST), weight.float().contiguous()
    output = _new_output(x, weight, stride)
    native.depthwise_conv(
        shape=x.shape, kernel=weight.shape[2:], stride=stride, element=element_type(x), input=x.data_ptr(),
        weight=filters.data_ptr(), result=output.data_ptr(), threads=torch.get_num_threads(),
    )  # fmt: skip
    return output


@torch.library.impl(_library, "depthwise_conv3d_input_gradient", "CPU")
def _input_gradient(gradient, weight, shape, stride):
    from fastpose._native import native

    gradient, filters = gradient.contiguous(memory_format=CHANNELS_LAST), weight.float().contiguous()
    result = _new_input_gradient(gradient, weight, shape, stride)
    native.depthwise_conv_input_gradient(
        shape=shape, kernel=weight.shape[2:], stride=stride, element=element_type(gradient),
        gradient=gradient.data_ptr(), weight=filters.data_ptr(), result=result.data_ptr(),
        threads=torch.get_num_threads(),
    )  # fmt: skip
    return result


@torch.library.impl(_library, "depthwise_conv3d_weight_gradient", "CPU")
def _weight_gradient(gradient, x, weight, stride):
    from fastpose._native import native

    x, gradient = (tensor.contiguous(memory_format=CHANNELS_LAST) for tensor in (x, gradient))
    result = torch.empty(weight.shape, dtype=torch.float32)
    native.depthwise_conv_weight_gradient(
        shape=x.shape, kernel=weight.shape[2:], stride=stride, element=element_type(x), input=x.data_ptr(),
        gradient=gradient.data_ptr(), result=result.data_ptr(), threads=torch.get_num_threads(),
    )  # fmt: skip
    return result.to(weight.dtype)


class _DepthwiseConv(torch.autograd.Function):
    @staticmethod
    def forward(x, weight, stride):
        with torch._C._AutoDispatchBelowAutograd():
            return torch.ops.fastpose.depthwise_conv3d(x, weight, stride)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, ctx.stride = inputs
        ctx.shape = x.shape
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        dx = dweight = None
        if ctx.needs_input_grad[0]:
            dx = call_once_differentiable(
                torch.ops.fastpose.depthwise_conv3d_input_gradient, "depthwise_conv3d", gradient, weight,
                ctx.shape, ctx.stride,
            )  # fmt: skip
        if ctx.needs_input_grad[1]:
            dweight = call_once_differentiable(
                torch.ops.fastpose.depthwise_conv3d_weight_gradient, "depthwise_conv3d", gradient, x, weight,
                ctx.stride,
            )  # fmt: skip
        return dx, dweight, None


@torch.library.impl(_library, "depthwise_conv3d", "Autograd")
def _with_gradient(x, weight, stride):
    return _DepthwiseConv.apply(x, weight, stride)
