"""The public batch norm: checks, registration with torch, and choice of backend."""

import torch
from torch import Tensor

from fastpose.ops.arguments import describe
from fastpose.ops.backend import resolve_backend
from fastpose.ops.layers.batch_norm.reference import batch_norm_relu_reference
from fastpose.ops.native_call import NATIVE_DTYPES, dense_floats, element_type, transform_obstacle
from fastpose.ops.once import call_once_differentiable

ROW_FORMATS = {
    2: torch.contiguous_format,
    4: torch.channels_last,
    5: torch.channels_last_3d,
}  # in which the channels of a place are neighbours, by the number of dimensions


def batch_norm_relu(
    x: Tensor,  # [N, C, ...]
    running_mean: Tensor | None,  # [C]
    running_var: Tensor | None,  # [C]
    weight: Tensor,  # [C]
    bias: Tensor,  # [C]
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    residual: Tensor | None = None,  # of the shape of x
    relu: bool = True,
    statistics: tuple[Tensor, Tensor] | None = None,  # [C] each
    backend: str = "auto",
) -> Tensor:  # of the shape of x
    """Return ``relu(batch_norm(x) + residual)``; the arguments up to ``eps`` are those of ``F.batch_norm``.

    In training, "native" reads x twice and writes the result once, and stores nothing but them for the
    backward pass: no normalised copy, no mask. In evaluation it reads x once.

    Args:
        residual: what is added before the ReLU; of the dtype of x.
        relu: whether negative values become 0.
        statistics: mean and biased variance of x, in training, where they are known: x is read once then. The gradient
            of x is the same; none goes through them.
        backend: "native" (C++, on the CPU in float32 and bfloat16, with the channels innermost in memory; bitwise
            identical for any number of threads; differentiable once in training, and not in evaluation),
            "reference" (torch, anywhere) or "auto": "native" where it can serve and x is no rows [N, C], which torch
            normalises in two thirds of the time (``bench_layers.py``).

    Raises:
        ValueError: an argument is wrong, or the backend cannot serve the call.
    """
    check_batch_norm("batch_norm_relu", x, running_mean, running_var, weight, bias, training)
    _check_residual(x, residual)
    if backend == "auto" and x.ndim == 2:
        backend = "reference"
    obstacle = native_batch_norm_obstacle(x, running_mean, running_var, (weight, bias), training, residual)
    if resolve_backend("batch_norm_relu", backend, {"native": obstacle}) == "reference":
        return batch_norm_relu_reference(
            x, running_mean, running_var, weight, bias, training, momentum, eps, residual, relu
        )
    if not training:
        return torch.ops.fastpose.batch_norm_relu_evaluation(
            x, residual, weight, bias, running_mean, running_var, relu, eps
        )
    mean, variance = (None, None) if statistics is None else (part.detach() for part in statistics)
    y, mean, variance = torch.ops.fastpose.batch_norm_relu(
        x, residual, weight, bias, mean, variance, relu, eps
    )
    update_running_statistics(x, running_mean, running_var, mean, variance, momentum)
    return y


def check_batch_norm(
    op: str,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    training: bool,
    prefix: str = "",
) -> None:
    """Check what operators with a batch norm ask of its arguments; ``prefix`` begins their names of weight and bias.

    Raises:
        ValueError: one of them is wrong; it names ``op``.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2 or x.numel() == 0:
        raise ValueError(f"{op}: x must be floating [N, C, ...] and not empty, got {describe(x)}")
    channels = {"running_mean": running_mean, "running_var": running_var}
    channels |= {f"{prefix}weight": weight, f"{prefix}bias": bias}
    for name, tensor in channels.items():
        if tensor is None and name.startswith("running"):
            continue
        if (
            not isinstance(tensor, Tensor)
            or not tensor.is_floating_point()
            or tuple(tensor.shape) != (x.shape[1],)
        ):
            raise ValueError(f"{op}: {name} must be [{x.shape[1]}] and floating, got {describe(tensor)}")
        if tensor.device != x.device:
            raise ValueError(f"{op}: x is on {x.device}, but {name} on {tensor.device}")
    if training and x.numel() == x.shape[1]:
        raise ValueError(f"{op}: training needs more than one value per channel, got {x.shape = }")


def _check_residual(x: Tensor, residual: Tensor | None) -> None:
    if residual is None:
        return
    if not isinstance(residual, Tensor) or residual.shape != x.shape or residual.dtype != x.dtype:
        raise ValueError(f"batch_norm_relu: residual must be {describe(x)}, got {describe(residual)}")
    if residual.device != x.device:
        raise ValueError(f"batch_norm_relu: x is on {x.device}, but residual on {residual.device}")


def native_batch_norm_obstacle(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    parameters: tuple[Tensor, ...],
    training: bool,
    residual: Tensor | None = None,
) -> str | None:
    """Return why native code cannot normalise x, or None."""
    if x.device.type != "cpu":
        return f"runs on the CPU, and x is on {x.device}"
    if x.dtype not in NATIVE_DTYPES:
        return f"does not take {x.dtype}"
    if any(tensor.dtype == torch.float64 for tensor in parameters):
        return "would round its float64 parameters"
    if not training:
        if running_mean is None or running_var is None:
            return "needs running statistics in evaluation"
        if torch.float64 in (running_mean.dtype, running_var.dtype):
            return "would round its float64 statistics"
        leaves = (x, running_mean, running_var, residual, *parameters)
        if torch.is_grad_enabled() and any(leaf is not None and leaf.requires_grad for leaf in leaves):
            return "has no gradients in evaluation"
    if (obstacle := transform_obstacle()) is not None:  # in which memory formats cannot be asked for
        return obstacle
    if x.ndim not in ROW_FORMATS or not x.is_contiguous(memory_format=ROW_FORMATS[x.ndim]):
        return "needs channels innermost in memory"
    return None


@torch.no_grad()
def update_running_statistics(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    momentum: float,
) -> None:
    """Move them towards those of x, whose variance is biased."""
    if running_mean is not None:
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
    if running_var is not None:
        count = x.numel() // x.shape[1]
        unbiased = variance * (count / (count - 1))
        running_var.lerp_(unbiased.to(running_var.dtype), momentum)


# Opaque to torch.compile. Everything of the shape of x is in the order of ROW_FORMATS.
_library = torch.library.Library("fastpose", "FRAGMENT")
_library.define(
    "batch_norm_relu(Tensor x, Tensor? residual, Tensor weight, Tensor bias, Tensor? mean, Tensor? variance, "
    "bool relu, float eps) -> (Tensor y, Tensor mean, Tensor variance)"
)
_library.define(
    "batch_norm_relu_evaluation(Tensor x, Tensor? residual, Tensor weight, Tensor bias, Tensor mean, "
    "Tensor variance, bool relu, float eps) -> Tensor"
)
_library.define(
    "batch_norm_relu_backward(Tensor gradient, Tensor x, Tensor? y, Tensor weight, Tensor bias, Tensor mean, "
    "Tensor variance, bool residual, bool relu, float eps) "
    "-> (Tensor dx, Tensor dresidual, Tensor dweight, Tensor dbias)"
)


def empty_like(x: Tensor) -> Tensor:
    """Allocate memory of the shape of x, with the channels innermost."""
    return torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=ROW_FORMATS[x.ndim])


@torch.library.register_fake("fastpose::batch_norm_relu", lib=_library)
def _new_outputs(x, residual, weight, bias, mean, variance, relu, eps):
    return empty_like(x), *(x.new_empty(x.shape[1], dtype=torch.float32) for _ in range(2))


@torch.library.register_fake("fastpose::batch_norm_relu_evaluation", lib=_library)
def _new_output(x, residual, weight, bias, mean, variance, relu, eps):
    return empty_like(x)


@torch.library.register_fake("fastpose::batch_norm_relu_backward", lib=_library)
def _new_gradients(gradient, x, y, weight, bias, mean, variance, residual, relu, eps):
    dresidual = empty_like(x) if residual else x.new_empty(0)
    return empty_like(x), dresidual, *(x.new_empty(x.shape[1], dtype=torch.float32) for _ in range(2))


def _rows(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=ROW_FORMATS[x.ndim])


def _address(x):
    return 0 if x is None or x.numel() == 0 else x.data_ptr()


def _normalize(x, residual, weight, bias, mean, variance, relu, eps, given):
    from fastpose._native import native

    x, residual = _rows(x), None if residual is None else _rows(residual)
    weight, bias = dense_floats(weight, bias)
    y = empty_like(x)
    native.batch_norm(
        rows=x.numel() // x.shape[1], channels=x.shape[1], relu=relu, eps=eps, element=element_type(x),
        threads=torch.get_num_threads(), input=x.data_ptr(), residual=_address(residual),
        weight=weight.data_ptr(), bias=bias.data_ptr(), output=y.data_ptr(), mean=mean.data_ptr(),
        variance=variance.data_ptr(), given=given,
    )  # fmt: skip
    return y


@torch.library.impl(_library, "batch_norm_relu", "CPU")
def _forward(x, residual, weight, bias, mean, variance, relu, eps):
    if mean is None:
        mean, variance = (x.new_empty(x.shape[1], dtype=torch.float32) for _ in range(2))
        return _normalize(x, residual, weight, bias, mean, variance, relu, eps, False), mean, variance
    mean, variance = (part.float().clone() for part in (mean, variance))  # an operator returns no argument
    return _normalize(x, residual, weight, bias, mean, variance, relu, eps, True), mean, variance


@torch.library.impl(_library, "batch_norm_relu_evaluation", "CPU")
def _evaluate(x, residual, weight, bias, mean, variance, relu, eps):
    mean, variance = dense_floats(mean, variance)
    return _normalize(x, residual, weight, bias, mean, variance, relu, eps, True)


@torch.library.impl(_library, "batch_norm_relu_backward", "CPU")
def _backward(gradient, x, y, weight, bias, mean, variance, residual, relu, eps):
    from fastpose._native import native

    gradient, x, y = _rows(gradient), _rows(x), None if y is None else _rows(y)
    weight, bias = dense_floats(weight, bias)
    dx, dresidual, dweight, dbias = _new_gradients(
        gradient, x, y, weight, bias, mean, variance, residual, relu, eps
    )
    native.batch_norm_backward(
        rows=x.numel() // x.shape[1], channels=x.shape[1], relu=relu, eps=eps, element=element_type(x),
        threads=torch.get_num_threads(), output_gradient=gradient.data_ptr(), input=x.data_ptr(),
        output=_address(y), weight=weight.data_ptr(), bias=bias.data_ptr(), mean=mean.data_ptr(),
        variance=variance.data_ptr(), input_gradient=dx.data_ptr(), residual_gradient=_address(dresidual),
        weight_gradient=dweight.data_ptr(), bias_gradient=dbias.data_ptr(),
    )  # fmt: skip
    return dx, dresidual, dweight, dbias


class _BatchNormReLU(torch.autograd.Function):
    # A setup_context, which torch.func alone needs, takes as long as the rest of the call.
    @staticmethod
    def forward(ctx, x, residual, weight, bias, mean, variance, relu, eps):
        with torch._C._AutoDispatchBelowAutograd():
            y, mean, variance = torch.ops.fastpose.batch_norm_relu(
                x, residual, weight, bias, mean, variance, relu, eps
            )
        ctx.residual, ctx.relu, ctx.eps = residual is not None, relu, eps
        ctx.mark_non_differentiable(mean, variance)
        ctx.save_for_backward(x, y if ctx.residual and relu else None, weight, bias, mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx, gradient, _mean, _variance):
        x, y, weight, bias, mean, variance = ctx.saved_tensors
        masked = ctx.residual and ctx.relu  # without a ReLU the residual's gradient is the output's
        dx, dresidual, dweight, dbias = call_once_differentiable(
            torch.ops.fastpose.batch_norm_relu_backward, "batch_norm_relu", gradient, x, y, weight, bias, mean,
            variance, masked, ctx.relu, ctx.eps,
        )  # fmt: skip
        dresidual = (dresidual if masked else gradient) if ctx.residual else None
        return dx, dresidual, dweight.to(weight.dtype), dbias.to(bias.dtype), None, None, None, None


_library.impl("batch_norm_relu", _BatchNormReLU.apply, "Autograd")
