"""Gradients of operators that have no derivative of their own."""

from collections.abc import Callable
from typing import Any

import torch


def call_once_differentiable(gradient: Callable, op: str, *arguments: Any) -> Any:
    """Return ``gradient(*arguments)``; to differentiate that again is an error which names ``op``.

    ``torch.autograd.function.once_differentiable`` cuts the graph instead, so that ``torch.autograd.grad``
    would silently leave the second derivative out.
    """
    if torch.compiler.is_compiling():  # which refuses second derivatives itself
        return gradient(*arguments)
    return _Once.apply(gradient, op, *arguments)


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(gradient, op, *arguments):
        return gradient(*arguments)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.op = inputs[1]

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError(f"{ctx.op}: no second derivative; backend='reference' has one, in more memory")
