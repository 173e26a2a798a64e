"""The fused and the blocked losses as operators of torch: opaque to torch.compile, with a gradient of their own."""

import torch
from torch import Tensor

from fastpose.ops.contrastive.blocked import blocked_backward, blocked_forward
from fastpose.ops.contrastive.fused import fused_backward, fused_forward, new_forward
from fastpose.ops.contrastive.state import State


def differentiable_loss(
    x: Tensor,  # [N, D]
    y: Tensor | None,  # [N, D], row i the positive of row i; without it, rows of one label are positives
    labels: Tensor | None,  # [N]
    counts: Tensor | None,  # [2, N]: clips where one is 0 take no part
    temperature: float | Tensor,
    symmetric: bool,
    reduction: str,
    precision: str,
    backend: str,
) -> Tensor:
    """Return the loss, [] or [N], of ``backend`` "triton" or "blocked"."""
    tau = None
    if isinstance(temperature, Tensor):
        tau, temperature = temperature.to(x.device), _value_at_hand(temperature)
    return _Contrast.apply(
        x, y, labels, counts, tau, float(temperature), symmetric, reduction, precision, backend
    )[0]


def _value_at_hand(temperature: Tensor) -> float:
    """Return its value, or 0 where reading it would wait for a device or break a graph."""
    if temperature.device.type != "cpu" or torch.compiler.is_compiling():
        return 0.0
    return temperature.item()


class _Contrast(torch.autograd.Function):
    @staticmethod
    def forward(x, y, labels, counts, tau, temperature, symmetric, reduction, precision, backend):
        return torch.ops.fastpose.contrast(
            x, y, labels, counts, tau, temperature, symmetric, reduction, precision, backend
        )

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, y, labels, _, tau, ctx.temperature, ctx.symmetric, _, ctx.precision, ctx.backend = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)  # would fill zeros for each of those
        ctx.save_for_backward(x, y, labels, tau, *output[1:])

    @staticmethod
    def backward(ctx, grad, *_):
        if grad is None:
            return (None,) * 10
        x, y, labels, tau, *saved = ctx.saved_tensors
        needs = (ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.needs_input_grad[4])
        # torch.compile refuses second derivatives itself
        differentiable = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        differentiate = _ContrastBackward.apply if differentiable else torch.ops.fastpose.contrast_backward
        dx, dy, dtau = differentiate(
            grad,
            x,
            y,
            labels,
            tau,
            ctx.temperature,
            *saved,
            ctx.symmetric,
            ctx.precision,
            ctx.backend,
            *needs,
        )
        dx, dy, dtau = (d if needed else None for d, needed in zip((dx, dy, dtau), needs, strict=True))
        return dx, dy, None, None, dtau, None, None, None, None, None


class _ContrastBackward(torch.autograd.Function):
    @staticmethod
    def forward(*arguments):
        return torch.ops.fastpose.contrast_backward(*arguments)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError(
            "the contrastive losses have no second derivative; backend='reference' has one, in N x N memory"
        )


_library = torch.library.Library("fastpose", "FRAGMENT")
_library.define(
    "contrast(Tensor x, Tensor? y, Tensor? labels, Tensor? counts, Tensor? tau, float temperature, "
    "bool symmetric, str reduction, str precision, str backend) "
    "-> (Tensor loss, Tensor z, Tensor inverse, Tensor log_sums, Tensor pulls, Tensor scale)"
)
_library.define(
    "contrast_backward(Tensor grad, Tensor x, Tensor? y, Tensor? labels, Tensor? tau, float temperature, "
    "Tensor z, Tensor inverse, Tensor log_sums, Tensor pulls, Tensor scale, bool symmetric, str precision, "
    "str backend, bool needs_x, bool needs_y, bool needs_tau) -> (Tensor, Tensor, Tensor)"
)


@torch.library.register_fake("fastpose::contrast", lib=_library)
def _contrast_fake(x, y, labels, counts, tau, temperature, symmetric, reduction, precision, backend):
    paired = y is not None
    if backend == "triton":
        loss, state = new_forward(x, paired, reduction, precision)
        return loss, *state
    count, width = x.shape
    total = 2 * count if paired else count
    loss = (count,) if reduction == "none" else ()
    return tuple(x.new_empty(shape) for shape in (loss, (total, width), (total,), (total,), (total,), ()))


@torch.library.register_fake("fastpose::contrast_backward", lib=_library)
def _contrast_backward_fake(grad, x, y, labels, tau, temperature, z, inverse, log_sums, pulls, scale,
                            symmetric, precision, backend, needs_x, needs_y, needs_tau):  # fmt: skip
    return (
        x.new_empty(x.shape if needs_x else (0,)),
        x.new_empty(y.shape if y is not None and needs_y else (0,)),
        x.new_empty((), dtype=tau.dtype) if needs_tau else x.new_empty(0),
    )


@torch.library.impl(_library, "contrast", "CompositeExplicitAutograd")
def _contrast(x, y, labels, counts, tau, temperature, symmetric, reduction, precision, backend):
    if backend == "triton":
        loss, state = fused_forward(x, y, labels, counts, tau, temperature, symmetric, reduction, precision)
        return loss, *state
    temperature = temperature if tau is None else tau.item()
    with torch.autocast(x.device.type, enabled=False):
        loss, state = blocked_forward(x, y, labels, counts, temperature, symmetric, reduction)
    return loss, *state


@torch.library.impl(_library, "contrast_backward", "CompositeExplicitAutograd")
def _contrast_backward(grad, x, y, labels, tau, temperature, z, inverse, log_sums, pulls, scale,
                       symmetric, precision, backend, needs_x, needs_y, needs_tau):  # fmt: skip
    state = State(z, inverse, log_sums, pulls, scale)
    if backend == "triton":
        needs = (needs_x, needs_y, needs_tau)
        gradients = fused_backward(grad, x, y, labels, tau, temperature, state, symmetric, precision, needs)
    else:
        temperature = temperature if tau is None else tau.item()
        with torch.autocast(x.device.type, enabled=False):
            dz, dtau = blocked_backward(grad, y is not None, labels, temperature, state, symmetric)
        dx = dz[: x.shape[0]].clone() if needs_x else None
        dy = dz[x.shape[0] :].clone() if y is not None and needs_y else None
        gradients = dx, dy, dtau.to(tau.dtype) if needs_tau and tau is not None else None
    return tuple(x.new_empty(0) if gradient is None else gradient for gradient in gradients)
