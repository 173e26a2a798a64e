"""The public operator: checks, registration with torch, and choice of backend."""

import torch
from torch import Tensor

from fastpose.ops.backend import resolve_backend
from fastpose.ops.layers.batch_norm.op import (
    check_batch_norm,
    empty_like,
    native_batch_norm_obstacle,
    update_running_statistics,
)
from fastpose.ops.layers.depthwise.checks import check_depthwise
from fastpose.ops.layers.depthwise.op import CHANNELS_LAST, native_depthwise_obstacle, new_output
from fastpose.ops.layers.norm_depthwise.reference import batch_norm_depthwise_reference
from fastpose.ops.native_call import autocast_dtype, dense_floats, element_type
from fastpose.ops.once import call_once_differentiable

OP = "batch_norm_depthwise"


def batch_norm_depthwise(
    x: Tensor,  # [B, C, T, H, W]
    running_mean: Tensor | None,  # [C]
    running_var: Tensor | None,  # [C]
    norm_weight: Tensor,  # [C]
    norm_bias: Tensor,  # [C]
    weight: Tensor,  # [C, 1, kt, kh, kw]
    stride: int | tuple[int, int, int] = 1,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    relu: bool = True,
    statistics: tuple[Tensor, Tensor] | None = None,  # [C] each
    backend: str = "auto",
) -> Tensor:  # [B, C, T', H', W']
    """Return ``depthwise_conv3d(batch_norm_relu(x), weight)``, whose arguments these are.

    "native" reads x once for its statistics, in training, and once for the convolution, which normalises what it
    reads; the normalised volume exists neither then nor for the backward pass.

    Args:
        statistics: mean and biased variance of x, in training, where they are known, as ``batch_norm_relu`` takes them.
        backend: "native" (C++, on the CPU in float32 and bfloat16, with the channels innermost in memory; bitwise
            identical for any number of threads), "reference" (torch, anywhere) or "auto": the first that can
            serve. The first is differentiable once in training, and not in evaluation.

    Raises:
        ValueError: an argument is wrong, or the backend cannot serve the call.
    """
    check_batch_norm(OP, x, running_mean, running_var, norm_weight, norm_bias, training, "norm_")
    stride = check_depthwise(OP, x, weight, stride)
    parameters = norm_weight, norm_bias, weight
    obstacle = native_batch_norm_obstacle(x, running_mean, running_var, parameters, training)
    obstacle = obstacle or native_depthwise_obstacle(x, weight) or _autocast_obstacle(x)
    if resolve_backend(OP, backend, {"native": obstacle}) == "reference":
        return batch_norm_depthwise_reference(
            x,
            running_mean,
            running_var,
            norm_weight,
            norm_bias,
            weight,
            stride,
            training,
            momentum,
            eps,
            relu,
        )
    if not training:
        return torch.ops.fastpose.batch_norm_depthwise_evaluation(
            x, norm_weight, norm_bias, weight, running_mean, running_var, stride, relu, eps
        )
    mean, variance = (None, None) if statistics is None else (part.detach() for part in statistics)
    y, mean, variance = torch.ops.fastpose.batch_norm_depthwise(
        x, norm_weight, norm_bias, weight, mean, variance, stride, relu, eps
    )
    update_running_statistics(x, running_mean, running_var, mean, variance, momentum)
    return y


def _autocast_obstacle(x: Tensor) -> str | None:
    dtype = autocast_dtype(x)
    return None if dtype == x.dtype else f"writes {x.dtype}, and autocast asks for {dtype}"


# Opaque to torch.compile. Volumes are in channels_last_3d order.
_library = torch.library.Library("fastpose", "FRAGMENT")
_library.define(
    "batch_norm_depthwise(Tensor x, Tensor norm_weight, Tensor norm_bias, Tensor weight, Tensor? mean, "
    "Tensor? variance, int[3] stride, bool relu, float eps) -> (Tensor y, Tensor mean, Tensor variance)"
)
_library.define(
    "batch_norm_depthwise_evaluation(Tensor x, Tensor norm_weight, Tensor norm_bias, Tensor weight, Tensor mean, "
    "Tensor variance, int[3] stride, bool relu, float eps) -> Tensor"
)
_library.define(
    "batch_norm_depthwise_backward(Tensor gradient, Tensor x, Tensor norm_weight, Tensor norm_bias, "
    "Tensor weight, Tensor mean, Tensor variance, int[3] stride, bool relu, float eps) "
    "-> (Tensor dx, Tensor dnorm_weight, Tensor dnorm_bias, Tensor dweight)"
)


@torch.library.register_fake("fastpose::batch_norm_depthwise", lib=_library)
def _new_outputs(x, norm_weight, norm_bias, weight, mean, variance, stride, relu, eps):
    statistics = (x.new_empty(x.shape[1], dtype=torch.float32) for _ in range(2))
    return new_output(x, weight, stride), *statistics


@torch.library.register_fake("fastpose::batch_norm_depthwise_evaluation", lib=_library)
def _new_evaluated(x, norm_weight, norm_bias, weight, mean, variance, stride, relu, eps):
    return new_output(x, weight, stride)


@torch.library.register_fake("fastpose::batch_norm_depthwise_backward", lib=_library)
def _new_gradients(gradient, x, norm_weight, norm_bias, weight, mean, variance, stride, relu, eps):
    shapes = (x.shape[1],), (x.shape[1],), weight.shape
    return empty_like(x), *(x.new_empty(shape, dtype=torch.float32) for shape in shapes)


def _describe(x, weight, stride, relu, eps):
    return {
        "shape": x.shape, "kernel": weight.shape[2:], "stride": stride, "element": element_type(x),
        "threads": torch.get_num_threads(), "relu": relu, "eps": eps,
    }  # fmt: skip


def _convolve(x, norm_weight, norm_bias, weight, mean, variance, stride, relu, eps, given):
    from fastpose._native import native

    x = x.contiguous(memory_format=CHANNELS_LAST)
    norm_weight, norm_bias, weight = dense_floats(norm_weight, norm_bias, weight)
    y = new_output(x, weight, stride)
    native.norm_depthwise(
        **_describe(x, weight, stride, relu, eps), input=x.data_ptr(), norm_weight=norm_weight.data_ptr(),
        norm_bias=norm_bias.data_ptr(), weight=weight.data_ptr(), output=y.data_ptr(), mean=mean.data_ptr(),
        variance=variance.data_ptr(), given=given,
    )  # fmt: skip
    return y


@torch.library.impl(_library, "batch_norm_depthwise", "CPU")
def _forward(x, norm_weight, norm_bias, weight, mean, variance, stride, relu, eps):
    given = mean is not None
    if given:
        mean, variance = (
            part.float().clone() for part in (mean, variance)
        )  # an operator returns no argument
    else:
        mean, variance = (x.new_empty(x.shape[1], dtype=torch.float32) for _ in range(2))
    y = _convolve(x, norm_weight, norm_bias, weight, mean, variance, stride, relu, eps, given)
    return y, mean, variance


@torch.library.impl(_library, "batch_norm_depthwise_evaluation", "CPU")
def _evaluate(x, norm_weight, norm_bias, weight, mean, variance, stride, relu, eps):
    mean, variance = dense_floats(mean, variance)
    return _convolve(x, norm_weight, norm_bias, weight, mean, variance, stride, relu, eps, True)


@torch.library.impl(_library, "batch_norm_depthwise_backward", "CPU")
def _backward(gradient, x, norm_weight, norm_bias, weight, mean, variance, stride, relu, eps):
    from fastpose._native import native

    gradient, x = (tensor.contiguous(memory_format=CHANNELS_LAST) for tensor in (gradient, x))
    norm_weight, norm_bias, weight = dense_floats(norm_weight, norm_bias, weight)
    dx, dnorm_weight, dnorm_bias, dweight = _new_gradients(
        gradient, x, norm_weight, norm_bias, weight, mean, variance, stride, relu, eps
    )
    native.norm_depthwise_backward(
        **_describe(x, weight, stride, relu, eps), output_gradient=gradient.data_ptr(), input=x.data_ptr(),
        norm_weight=norm_weight.data_ptr(), norm_bias=norm_bias.data_ptr(), weight=weight.data_ptr(),
        mean=mean.data_ptr(), variance=variance.data_ptr(), input_gradient=dx.data_ptr(),
        norm_weight_gradient=dnorm_weight.data_ptr(), norm_bias_gradient=dnorm_bias.data_ptr(),
        weight_gradient=dweight.data_ptr(),
    )  # fmt: skip
    return dx, dnorm_weight, dnorm_bias, dweight


class _BatchNormDepthwise(torch.autograd.Function):
    @staticmethod
    def forward(x, norm_weight, norm_bias, weight, mean, variance, stride, relu, eps):
        with torch._C._AutoDispatchBelowAutograd():
            return torch.ops.fastpose.batch_norm_depthwise(
                x, norm_weight, norm_bias, weight, mean, variance, stride, relu, eps
            )

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, _, _, ctx.stride, ctx.relu, ctx.eps = inputs
        _, mean, variance = output
        ctx.mark_non_differentiable(mean, variance)
        ctx.save_for_backward(*tensors, mean, variance)

    @staticmethod
    def backward(ctx, gradient, _mean, _variance):
        saved = ctx.saved_tensors  # read once: what recomputes activations hands them out once
        dx, *others = call_once_differentiable(
            torch.ops.fastpose.batch_norm_depthwise_backward, OP, gradient, *saved, ctx.stride, ctx.relu,
            ctx.eps,
        )  # fmt: skip
        parameters = saved[1:4]
        return (
            dx, *(d.to(p.dtype) for d, p in zip(others, parameters, strict=True)), None, None, None, None, None
        )  # fmt: skip


_library.impl("batch_norm_depthwise", _BatchNormDepthwise.apply, "Autograd")
