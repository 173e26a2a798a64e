"""The losses with a gradient of their own.

On the CPU few rows are one dense matrix, more are blocks that are kept for the gradient, and beyond that blocks that
are computed again. All others run as operators that are opaque to torch.compile.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from fastpose.ops.contrastive import dense
from fastpose.ops.contrastive.blocked import blocked_backward, blocked_forward
from fastpose.ops.contrastive.fused import fused_backward, fused_forward, new_forward
from fastpose.ops.contrastive.state import State

MOST_KEPT = 4096  # rows whose pairs are kept for the gradient: 34 MB of float32
NO_SECOND = "the contrastive losses have no second derivative; backend='reference' has one, in N x N memory"


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
    verify: Callable[[], None],
) -> Tensor:
    """Return the loss, [] or [N], of ``backend`` "triton" or "blocked".

    ``verify`` raises where given values are not finite; it is called unless the loss notices itself that all are.
    """
    tau = None
    if isinstance(temperature, Tensor):
        tau, temperature = temperature.to(x.device), _value_at_hand(temperature)
    temperature = float(temperature)
    keeps_blocks = False
    if backend == "blocked" and _runs_directly(x):
        if counts is not None and y is not None:
            if counts.amin().item() > 0:
                counts = None
            elif (present := (counts > 0).all(0)).any():
                x, y, counts = x[present], y[present], None
        rows = len(x) if y is None else 2 * len(x)
        anchors = rows if symmetric else len(x)
        if counts is None and dense.serves(anchors, rows):
            return _Dense.apply(x, y, labels, tau, temperature, symmetric, reduction, verify)
        keeps_blocks = counts is None and rows <= MOST_KEPT
    verify()
    if keeps_blocks:
        return _KeptBlocks.apply(x, y, labels, tau, temperature, symmetric, reduction)
    return _Contrast.apply(x, y, labels, counts, tau, temperature, symmetric, reduction, precision, backend)[
        0
    ]


def _runs_directly(x: Tensor) -> bool:
    """Return whether nothing but torch's ordinary autograd looks on, which needs no operator."""
    return (
        x.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
    )


def _value_at_hand(temperature: Tensor) -> float:
    """Return its value, or 0 where reading it would wait for a device or break a graph."""
    if temperature.device.type != "cpu" or torch.compiler.is_compiling():
        return 0.0
    return temperature.item()


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x, y, labels, tau, temperature, symmetric, reduction, verify):
        loss, ctx.share, ctx.kept = _exactly(
            dense.dense_forward, x, y, labels, temperature, symmetric, reduction, verify
        )
        ctx.temperature = temperature
        ctx.save_for_backward(x, y, labels, tau)
        return loss

    @staticmethod
    def backward(ctx: Any, grad):
        return *_differentiate(ctx, grad, dense.dense_backward, ctx.share), None


class _KeptBlocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x, y, labels, tau, temperature, symmetric, reduction):
        blocks: list[Tensor] = []
        loss, state = _exactly(blocked_forward, x, y, labels, None, temperature, symmetric, reduction, blocks)
        ctx.kept = state, blocks
        ctx.temperature, ctx.symmetric = temperature, symmetric
        ctx.save_for_backward(x, y, labels, tau)
        return loss

    @staticmethod
    def backward(ctx: Any, grad):
        return _differentiate(ctx, grad, _of_blocks, ctx.symmetric)


def _of_blocks(grad, symmetric, paired, labels, temperature, kept) -> tuple[Tensor, Tensor]:
    state, blocks = kept
    return blocked_backward(grad, paired, labels, temperature, state, symmetric, blocks)


def _exactly(compute: Callable[..., Any], *arguments: Any) -> Any:
    """Return what ``compute`` returns without autocast, whose context is not entered in vain: few rows would wait."""
    if not torch.is_autocast_enabled("cpu"):
        return compute(*arguments)
    with torch.autocast("cpu", enabled=False):
        return compute(*arguments)


def _differentiate(ctx: Any, grad: Tensor, gradients_of: Callable[..., tuple[Tensor, Tensor]], how: Any):
    """Return the gradients of all arguments of the forms above; refuses to differentiate them once more."""
    x, y, labels, tau = ctx.saved_tensors
    needs_x, needs_y, _, needs_tau, *_ = ctx.needs_input_grad
    with torch.no_grad() if (twice := torch.is_grad_enabled()) else nullcontext():
        dz, dots = _exactly(gradients_of, grad, how, y is not None, labels, ctx.temperature, ctx.kept)
        dx = dz[: len(x)] if needs_x else None
        dy = dz[len(x) :] if needs_y else None
        dtau = (dots.sum() * (-0.5 / ctx.temperature)).to(tau.dtype) if needs_tau else None
    if twice:
        dx, dy, dtau = _Once.apply(grad, x, y, tau, dx, dy, dtau)
    return dx, dy, None, dtau, None, None, None


class _Once(torch.autograd.Function):
    """Passes gradients on as what depends on the loss's gradient and its inputs, in a way that is not known."""

    @staticmethod
    def forward(ctx: Any, grad, x, y, tau, *gradients):
        return tuple(None if gradient is None else gradient.clone() for gradient in gradients)

    @staticmethod
    def backward(ctx: Any, *_):
        raise RuntimeError(NO_SECOND)


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
        raise RuntimeError(NO_SECOND)


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
            dz, dots = blocked_backward(grad, y is not None, labels, temperature, state, symmetric)
        dtau = dots.sum() * (-0.5 / temperature)
        dx = dz[: x.shape[0]].clone() if needs_x else None
        dy = dz[x.shape[0] :].clone() if y is not None and needs_y else None
        gradients = dx, dy, dtau.to(tau.dtype) if needs_tau and tau is not None else None
    return tuple(x.new_empty(0) if gradient is None else gradient for gradient in gradients)
