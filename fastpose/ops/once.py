"""Gradients of operators that have no derivative of their own."""

from collections.abc import Callable
from typing import Any

import torch


def call_once_differentiable(
    gradient: Callable[..., Any], op: str, *arguments: Any, alternative: str = "backend='reference'"
) -> Any:
    """Return ``gradient(*arguments)``; to differentiate that again is an error.

    It names ``op``, and ``alternative``, which has a second derivative.

    ``torch.autograd.function.once_differentiable`` cuts the graph instead, so that ``torch.autograd.grad``
    would silently leave the second derivative out.
    """
    if not torch.is_grad_enabled():  # nobody asks for a second derivative
        return gradient(*arguments)
    if torch.compiler.is_compiling():  # which refuses second derivatives itself
        return gradient(*arguments)
    return _Once.apply(
        gradient, f"{op}: no second derivative; {alternative} has one, in more memory", *arguments
    )


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(gradient, error, *arguments):
        return gradient(*arguments)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.error = inputs[1]

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError(ctx.error)
