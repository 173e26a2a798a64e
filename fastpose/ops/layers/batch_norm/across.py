"""Batch norm by the statistics of all processes' clips, on any device and through any backend of torch.distributed."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def batch_norm_across(
    x: Tensor,  # [N, C, ...]
    weight: Tensor,  # [C]
    bias: Tensor,  # [C]
    running_mean: Tensor,  # [C]
    running_var: Tensor,  # [C]
    momentum: float,
    eps: float,
    *,
    absent: bool = False,
) -> Tensor:  # of the shape of x
    """Return ``F.batch_norm(x, …, training=True)`` as of one batch that holds the x of every process.

    All processes call it together, forward and backward, each with as many rows as it has. Running statistics move in
    each as those of the whole batch do. A single value per channel in all has no statistics of its own: the running
    ones normalise it.

    Args:
        absent: whether this process has no clips, and x only stands in for them: it counts for nothing.
    """
    y, mean, variance, count = _Across.apply(x, weight, bias, running_mean, running_var, eps, absent)
    with torch.no_grad():
        several = count > 1
        unbiased = variance * (count / (count - 1).clamp_min(1))
        for running, of_batch in (running_mean, mean), (running_var, unbiased):
            moved = torch.lerp(running, of_batch.to(running.dtype), momentum)
            running.copy_(torch.where(several, moved, running))
    return y


def _precise(x: Tensor) -> Tensor:
    return x.float() if x.dtype.itemsize < 4 else x


def _by_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *(1,) * (x.ndim - 2))


class _Across(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x, weight, bias, running_mean, running_var, eps, absent):
        wide, places = _precise(x), [axis for axis in range(x.ndim) if axis != 1]
        variance, mean = torch.var_mean(wide, places, correction=0)
        count = mean.new_full((1,), 0 if absent else x.numel() // x.shape[1])
        of_all = mean.new_empty(dist.get_world_size(), 1 + 2 * len(mean))
        dist.all_gather(list(of_all), torch.cat([count, mean, variance]))
        counts, means, variances = of_all.split([1, len(mean), len(mean)], dim=1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        variance = (counts * (variances + (means - mean).square())).sum(0) / total
        several = total > 1
        used_mean = torch.where(several, mean, running_mean.to(mean.dtype))
        inverse = torch.where(several, variance, running_var.to(mean.dtype)).add(eps).rsqrt()
        normal = (wide - _by_channel(used_mean, x)) * _by_channel(inverse, x)
        y = normal * _by_channel(_precise(weight), x) + _by_channel(_precise(bias), x)
        ctx.save_for_backward(x, weight, bias, used_mean, inverse, total)
        ctx.absent = absent
        ctx.mark_non_differentiable(mean, variance, total)
        return y.to(x.dtype), mean, variance, total

    @staticmethod
    def backward(ctx: Any, *gradients: Any):
        x, weight, bias, mean, inverse, total = ctx.saved_tensors
        gradient, places = _precise(gradients[0]), [axis for axis in range(x.ndim) if axis != 1]
        normal = (_precise(x) - _by_channel(mean, x)) * _by_channel(inverse, x)
        own = torch.stack([gradient.sum(places), (gradient * normal).sum(places)])
        if ctx.absent:
            own.zero_()
        shared = own.clone()
        dist.all_reduce(shared)
        if ctx.absent:
            return torch.zeros_like(x), own[1].to(weight.dtype), own[0].to(bias.dtype), None, None, None, None
        shared = torch.where(total > 1, shared / total, 0)  # running statistics do not depend on x
        dx = gradient - _by_channel(shared[0], x) - normal * _by_channel(shared[1], x)
        dx = dx * _by_channel(_precise(weight) * inverse, x)
        return dx.to(x.dtype), own[1].to(weight.dtype), own[0].to(bias.dtype), None, None, None, None
