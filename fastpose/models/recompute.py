"""Activation checkpointing: a network keeps the inputs of its segments alone and runs them again in the backward pass.

Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


@contextmanager
def kept_statistics(module: nn.Module) -> Iterator[None]:
    """Let batch norms move copies of their running statistics inside, so that a second pass leaves them as they are."""
    norms = [each for each in module.modules() if isinstance(each, _BatchNorm)]
    kept = [dict(norm.named_buffers(recurse=False)) for norm in norms]
    for norm, buffers in zip(norms, kept, strict=True):
        _set_buffers(norm, {name: buffer.clone() for name, buffer in buffers.items()})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            _set_buffers(norm, buffers)


def _set_buffers(module: nn.Module, buffers: dict[str, Tensor]) -> None:
    for name, buffer in buffers.items():
        setattr(module, name, buffer)


class Segmented(nn.Module):
    """A network in segments, of which a training step keeps all activations, or the inputs where it has ``recompute``.

    Recomputing costs a second forward pass. It gives the same gradients, moves the running statistics of batch
    norms once, and draws the same dropout.
    """

    recompute: Callable[..., Tensor] | None = None  # calls a segment so; ``recompute_activations`` sets it

    def segment(
        self, module: nn.Module, run: Callable[[Any], Tensor] | None = None
    ) -> Callable[[Any], Tensor]:
        """Return ``run``, by default ``module``, to be called; all batch norms that it uses are those of ``module``.

        Where activations are recomputed, what is returned calls it twice.
        """
        run = module if run is None else run
        if self.recompute is not None and torch.is_grad_enabled():
            return functools.partial(self.recompute, module, run)
        return run


def _recompute(part: nn.Module, run: Callable[[Any], Tensor], x: Any) -> Tensor:
    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), kept_statistics(part)

    return checkpoint(run, x, use_reentrant=False, context_fn=contexts)


class SegmentedSequential(Segmented, nn.Sequential):
    """Modules one after another, each a segment."""

    def forward(self, x: Tensor) -> Tensor:
        for module in self:
            x = self.segment(module)(x)
        return x


def recompute_activations(model: nn.Module, enabled: bool = True) -> None:
    """Let all that is segmented in ``model`` recompute its activations, or keep them."""
    recompute = None
    if enabled:  # not a decorator: it would import torch's compiler, which takes as long as torch itself
        reason = "the compiler knows no checkpoints whose passes differ in what they do to buffers"
        recompute = cast(Callable[..., Tensor], torch.compiler.disable(_recompute, reason=reason))
    for module in model.modules():
        if isinstance(module, Segmented):
            module.recompute = recompute
