"""The public convolution of rows: checks, registration with torch, and choice of backend."""

import torch
from torch import Tensor

from fastpose._native import extension_obstacle
from fastpose.ops.arguments import check_volume, describe, three_integers
from fastpose.ops.backend import resolve_backend
from fastpose.ops.layers.row_conv.reference import norm_conv3d_reference
from fastpose.ops.native_call import transform_obstacle
from fastpose.ops.once import call_once_differentiable

OP = "norm_conv3d"
CHANNELS_LAST = torch.channels_last_3d
Norm = tuple[Tensor, Tensor, Tensor, Tensor]  # mean, variance (biased), weight, bias: [C] each


def norm_conv3d(
    x: Tensor,  # [B, C, T, H, W]
    norm: Norm | None,
    weight: Tensor,  # [C', C, kt, kh, kw]
    stride: int | tuple[int, int, int] = 1,
    *,
    relu: bool = True,
    eps: float = 1e-5,
    backend: str = "auto",
) -> tuple[Tensor, Tensor, Tensor]:  # y [B, C', T', H', W'], its mean and variance [C']
    """Convolve what batch norm by given statistics, and ReLU, make of x; return the result with its own statistics.

    The convolution is padded by half its odd-sided kernel and has no bias; T' is ⌈T / stride⌉, and so on. A chain
    of these, each with the statistics that the one before returned, is a chain of convolutions with batch norms
    in between whose normalised volumes exist nowhere: "native" normalises what it reads, and finds statistics of
    what it writes, and the sums of the backward pass, while those are in the caches. Gradients go through the
    statistics too.

    Args:
        norm: mean, biased variance, weight and bias of the batch norm of x; None convolves x as it is.
        relu: whether a ReLU follows that batch norm.
        backend: "native" (C++, on the CPU in float32; x is used and y made in channels_last_3d order; bitwise
            identical for any number of threads; differentiable once), "reference" (torch, anywhere) or "auto": the
            first that can serve.

    Raises:
        ValueError: an argument is wrong, or the backend cannot serve the call.
    """
    stride = _check(OP, x, norm, weight, stride)
    backend = resolve_backend(OP, backend, {"native": norm_conv_obstacle(x, norm, weight)})
    if backend == "reference":
        return norm_conv3d_reference(x, norm, weight, stride, relu, eps)
    mean, variance, norm_weight, norm_bias = (None,) * 4 if norm is None else norm
    return torch.ops.fastpose.norm_conv3d(
        x, mean, variance, norm_weight, norm_bias, weight, stride, relu, eps
    )


def norm_conv3d_evaluation(
    x: Tensor,  # [B, C, T, H, W]
    weight: Tensor,  # [C', C, kt, kh, kw]
    stride: tuple[int, int, int],
    norm: Norm,  # of the result: [C'] each
    eps: float,
    *,
    relu: bool,
    residual: Tensor | None = None,  # [B, C', T', H', W']
) -> Tensor:  # [B, C', T', H', W']
    """Convolve x, then apply batch norm by given statistics, add ``residual`` and apply ReLU, in one pass.

    On the CPU in float32 alone, and without gradients: ``norm_conv_obstacle`` tells.
    """
    mean, variance, norm_weight, norm_bias = norm
    scale = norm_weight / (variance + eps).sqrt()
    return torch.ops.fastpose.norm_conv3d_evaluation(
        x, weight, stride, scale, norm_bias - mean * scale, residual, relu
    )


def norm_conv_obstacle(x: Tensor, norm: Norm | None, weight: Tensor) -> str | None:
    """Return why native code cannot convolve x, or None."""
    if x.device.type != "cpu":
        return f"runs on the CPU, and x is on {x.device}"
    if torch.is_autocast_enabled("cpu"):
        return f"takes torch.float32 alone, and autocast gives {torch.get_autocast_dtype('cpu')}"
    for tensor in (x, weight, *(norm or ())):
        if tensor.dtype != torch.float32:
            return f"does not take {tensor.dtype}"
    return extension_obstacle() or transform_obstacle()


def _check(
    op: str, x: Tensor, norm: Norm | None, weight: Tensor, stride: int | tuple[int, int, int]
) -> tuple[int, int, int]:
    """Return the stride of each axis; ValueError where an argument is wrong."""
    strides = three_integers(op, "stride", stride, 1)
    check_volume(op, x, weight)
    if weight.shape[1] != x.shape[1] or 0 in weight.shape or any(side % 2 == 0 for side in weight.shape[2:]):
        raise ValueError(
            f"{op}: weight must be [C', {x.shape[1]}, kt, kh, kw] with odd sides, got {tuple(weight.shape)}"
        )
    for name, tensor in zip(("mean", "variance", "weight", "bias"), norm or (), strict=False):
        if (
            not isinstance(tensor, Tensor)
            or not tensor.is_floating_point()
            or tuple(tensor.shape) != x.shape[1:2]
        ):
            raise ValueError(
                f"{op}: norm's {name} must be [{x.shape[1]}] and floating, got {describe(tensor)}"
            )
    for tensor in (weight, *(norm or ())):
        if tensor.device != x.device:
            raise ValueError(f"{op}: x is on {x.device}, but another argument on {tensor.device}")
    return strides


# Opaque to torch.compile. Volumes are in channels_last_3d order.
_library = torch.library.Library("fastpose", "FRAGMENT")
_library.define(
    "norm_conv3d(Tensor x, Tensor? mean, Tensor? variance, Tensor? norm_weight, Tensor? norm_bias, Tensor weight, "
    "int[3] stride, bool relu, float eps) -> (Tensor y, Tensor y_mean, Tensor y_variance)"
)
_library.define(
    "norm_conv3d_evaluation(Tensor x, Tensor weight, int[3] stride, Tensor scale, Tensor shift, Tensor? residual, "
    "bool relu) -> Tensor"
)
_library.define(
    "norm_conv3d_backward(Tensor gradient, Tensor? mean_gradient, Tensor? variance_gradient, Tensor y, Tensor y_mean, "
    "Tensor x, Tensor? mean, Tensor? variance, Tensor? norm_weight, Tensor? norm_bias, Tensor weight, int[3] stride, "
    "bool relu, float eps, bool dx_wanted) -> (Tensor dx, Tensor dweight, Tensor dnorm)"
)


def _new_volume(x: Tensor, weight: Tensor, stride: tuple[int, int, int]) -> Tensor:
    sides = [(side - 1) // step + 1 for side, step in zip(x.shape[2:], stride, strict=True)]
    return torch.empty(
        (len(x), len(weight), *sides), dtype=x.dtype, device=x.device, memory_format=CHANNELS_LAST
    )


@torch.library.register_fake("fastpose::norm_conv3d", lib=_library)
def _new_outputs(x, mean, variance, norm_weight, norm_bias, weight, stride, relu, eps):
    return _new_volume(x, weight, stride), *(x.new_empty(len(weight)) for _ in range(2))


@torch.library.register_fake("fastpose::norm_conv3d_evaluation", lib=_library)
def _new_output(x, weight, stride, scale, shift, residual, relu):
    return _new_volume(x, weight, stride)


@torch.library.register_fake("fastpose::norm_conv3d_backward", lib=_library)
def _new_gradients(
    gradient, mean_gradient, variance_gradient, y, y_mean, x, mean, variance, norm_weight, norm_bias, weight, stride,
    relu, eps, dx_wanted,
):  # fmt: skip
    dx = torch.empty_like(x, memory_format=CHANNELS_LAST) if dx_wanted else x.new_empty(0)
    dnorm = x.new_empty(0 if mean is None or not dx_wanted else 4, x.shape[1])
    return dx, torch.empty_like(weight, memory_format=torch.contiguous_format), dnorm


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None or tensor.numel() == 0 else tensor.data_ptr()


def _rows(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=CHANNELS_LAST)


def _convolve(x, norm, weight, stride, relu, eps, mean, variance, scale, shift, residual, finish_relu):
    from fastpose._native import native

    x, residual, weight = _rows(x), None if residual is None else _rows(residual), weight.contiguous()
    norm = [None if part is None else part.contiguous() for part in norm]
    y = _new_volume(x, weight, stride)
    native.row_conv(
        shape=x.shape, out_channels=len(weight), kernel=weight.shape[2:], stride=stride,
        threads=torch.get_num_threads(), input=x.data_ptr(), norm=[_address(part) for part in norm], eps=eps,
        relu=relu, weight=weight.data_ptr(), output=y.data_ptr(), mean=_address(mean),
        variance=_address(variance), scale=_address(scale), shift=_address(shift), residual=_address(residual),
        finish_relu=finish_relu,
    )  # fmt: skip
    return y


@torch.library.impl(_library, "norm_conv3d", "CPU")
def _forward(x, mean, variance, norm_weight, norm_bias, weight, stride, relu, eps):
    y_mean, y_variance = (x.new_empty(len(weight)) for _ in range(2))
    norm = mean, variance, norm_weight, norm_bias
    y = _convolve(x, norm, weight, stride, relu, eps, y_mean, y_variance, None, None, None, False)
    return y, y_mean, y_variance


@torch.library.impl(_library, "norm_conv3d_evaluation", "CPU")
def _evaluate(x, weight, stride, scale, shift, residual, relu):
    return _convolve(x, (None,) * 4, weight, stride, False, 0, None, None, scale, shift, residual, relu)


@torch.library.impl(_library, "norm_conv3d_backward", "CPU")
def _backward(
    gradient, mean_gradient, variance_gradient, y, y_mean, x, mean, variance, norm_weight, norm_bias, weight, stride,
    relu, eps, dx_wanted,
):  # fmt: skip
    from fastpose._native import native

    gradient, y, x, weight = _rows(gradient), _rows(y), _rows(x), weight.contiguous()
    norm = [None if part is None else part.contiguous() for part in (mean, variance, norm_weight, norm_bias)]
    dx, dweight, dnorm = _new_gradients(
        gradient, mean_gradient, variance_gradient, y, y_mean, x, mean, variance, norm_weight, norm_bias, weight,
        stride, relu, eps, dx_wanted,
    )  # fmt: skip
    native.row_conv_backward(
        shape=x.shape, out_channels=len(weight), kernel=weight.shape[2:], stride=stride,
        threads=torch.get_num_threads(), input=x.data_ptr(), norm=[_address(part) for part in norm], eps=eps,
        relu=relu, weight=weight.data_ptr(), output=y.data_ptr(), output_mean=y_mean.data_ptr(),
        output_gradient=gradient.data_ptr(), mean_gradient=_address(mean_gradient),
        variance_gradient=_address(variance_gradient), input_gradient=_address(dx),
        weight_gradient=dweight.data_ptr(), norm_gradients=_address(dnorm),
    )  # fmt: skip
    return dx, dweight, dnorm


class _NormConv(torch.autograd.Function):
    # A setup_context, which torch.func alone needs, takes as long as the rest of the call.
    @staticmethod
    def forward(ctx, x, mean, variance, norm_weight, norm_bias, weight, stride, relu, eps):
        with torch._C._AutoDispatchBelowAutograd():
            y, y_mean, y_variance = torch.ops.fastpose.norm_conv3d(
                x, mean, variance, norm_weight, norm_bias, weight, stride, relu, eps
            )
        ctx.stride, ctx.relu, ctx.eps = stride, relu, eps
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y, y_mean, x, mean, variance, norm_weight, norm_bias, weight)
        return y, y_mean, y_variance

    @staticmethod
    def backward(ctx, gradient, mean_gradient, variance_gradient):
        y, y_mean, x, mean, variance, norm_weight, norm_bias, weight = ctx.saved_tensors
        gradient = torch.zeros_like(y) if gradient is None else gradient
        if mean_gradient is not None or variance_gradient is not None:
            mean_gradient, variance_gradient = (
                torch.zeros_like(y_mean) if part is None else part.contiguous()
                for part in (mean_gradient, variance_gradient)
            )
        dx_wanted = any(ctx.needs_input_grad[:5])
        dx, dweight, dnorm = call_once_differentiable(
            torch.ops.fastpose.norm_conv3d_backward, OP, gradient, mean_gradient, variance_gradient, y, y_mean, x,
            mean, variance, norm_weight, norm_bias, weight, ctx.stride, ctx.relu, ctx.eps, dx_wanted,
        )  # fmt: skip
        of_norm = dnorm.unbind() if len(dnorm) else (None,) * 4
        return dx if dx_wanted else None, *of_norm, dweight, None, None, None


_library.impl("norm_conv3d", _NormConv.apply, "Autograd")
