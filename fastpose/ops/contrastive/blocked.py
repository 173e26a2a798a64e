"""The losses in plain torch over square blocks of pairs: each unordered pair computed once, in memory O(N D).

Where the caller keeps the blocks of the forward direction, the other does not compute them again. The same quantities
as in the Triton kernels (log-sums, pulls, scale), on any device and in any dtype.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fastpose.ops.contrastive.state import State

BLOCK = 512  # a block of cosines stays in a core's cache


def blocked_forward(
    x: Tensor,  # [N, D]
    y: Tensor | None,
    labels: Tensor | None,  # [N], where y is none
    counts: Tensor | None,  # [2, N]: clips where one is 0 take no part
    temperature: float,
    symmetric: bool,
    reduction: str,
    kept: list[Tensor] | None = None,  # takes the blocks, without ``counts``
) -> tuple[Tensor, State]:
    if counts is not None:
        return _forward_of_present(x, y, (counts > 0).all(0), temperature, symmetric, reduction)
    count, s = len(x), 1 / temperature
    z, inverse = unit_rows(x if y is None else torch.cat([x, y]))
    anchors = 2 * count if symmetric else count
    fixed = bound_holds(s, z.dtype)
    sums = z.new_full((len(z),), 0.0 if fixed else -math.inf)
    attraction = None if labels is None else z.new_zeros(len(z))
    for rows, keys in _blocks(len(z), count, anchors):
        cosines = z[rows] @ z[keys].T  # [rows, keys]
        both_ways = rows != keys and keys.start < anchors
        if labels is not None and attraction is not None:
            attracted = cosines * _same_class(labels, rows, keys)
            attraction[rows] += attracted.sum(1)
            if both_ways:
                attraction[keys] += attracted.sum(0)
        if fixed:
            terms = cosines.mul_(s).exp_()
            _exclude(terms, rows, keys, count, y is not None, 0.0)
            sums[rows] += terms.sum(1)
            if both_ways:
                sums[keys] += terms.sum(0)
        else:
            logits = cosines.mul_(s)
            _exclude(logits, rows, keys, count, y is not None, -math.inf)
            sums[rows] = torch.logaddexp(sums[rows], torch.logsumexp(logits, 1))
            if both_ways:
                sums[keys] = torch.logaddexp(sums[keys], torch.logsumexp(logits, 0))
        if kept is not None:
            kept.append(cosines)  # exp(logits) by now, or logits
    log_sums = sums.log() if fixed else sums
    if y is not None:
        target = s * (z[:count] * z[count:]).sum(1).repeat(2)  # [2N]
        margin = log_sums - target  # of the negatives over the positive; -inf without negatives
        losses = margin.clamp_min(0) + torch.exp(-margin.abs()).log1p()
        log_sums, pulls = target + losses, torch.sigmoid(margin)
        if not symmetric:
            log_sums[count:], pulls[count:] = math.inf, 0
        losses = (losses[:count] + losses[count:]) / 2 if symmetric else losses[:count]
        counted = count
    else:
        assert labels is not None  # without pairs
        assert attraction is not None
        positives = (_class_sizes(labels) - 1).to(z.dtype)
        pulls = torch.where(positives > 0, 1 / positives.clamp_min(1), 0)
        losses = torch.where(positives > 0, log_sums - s * attraction * pulls, 0)
        log_sums = torch.where(positives > 0, log_sums, math.inf)
        counted = max(int((positives > 0).sum()), 1)
    scale = 1 / counted if reduction == "mean" else 1.0
    loss = losses if reduction == "none" else losses.sum() * scale
    return loss, State(z, inverse, log_sums, pulls, z.new_full((), scale / 2 if symmetric else scale))


def _forward_of_present(x, y, present, temperature, symmetric, reduction) -> tuple[Tensor, State]:
    """Return the loss of the clips [N] that are ``present``; the others are rows of zeros and no anchors."""
    both = present.repeat(2)
    if present.any():
        loss, (*of_rows, scale) = blocked_forward(
            x[present], y[present], None, None, temperature, symmetric, reduction
        )
    else:
        loss, scale = x.new_zeros(0 if reduction == "none" else ()), x.new_zeros(())
        of_rows = x.new_zeros(0, x.shape[1]), *(x.new_zeros(0) for _ in range(3))
    if reduction == "none":
        loss = x.new_zeros(len(x)).masked_scatter_(present, loss)
    z, inverse, log_sums, pulls = (
        x.new_full((len(both), *value.shape[1:]), fill).index_put_((both,), value)
        for value, fill in zip(of_rows, (0.0, 0.0, math.inf, 0.0), strict=True)
    )
    return loss, State(z, inverse, log_sums, pulls, scale)


def blocked_backward(
    grad: Tensor,  # [N] or []
    paired: bool,
    labels: Tensor | None,
    temperature: float,
    state: State,
    symmetric: bool,
    kept: Sequence[Tensor] | None = None,  # the blocks
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the rows before normalisation [R, D], and their part along each row [R, 1].

    The gradient of the temperature τ is the sum of these parts · −1 / 2τ.
    """
    z, inverse, log_sums, pulls, scale = state
    s = 1 / temperature
    count = len(z) // 2 if paired else len(z)
    # Clips that take no part are rows of zeros that are no anchors: their weights, once finite, meet zeros only.
    anchors = 2 * count if symmetric else count
    g = (grad * scale).to(z.dtype).expand(count)
    g = g.repeat(2) if paired else g  # [R]
    fixed = bound_holds(s, z.dtype)
    weight = g * torch.exp(-log_sums) if fixed else None
    dz = torch.zeros_like(z)
    for block, (rows, keys) in enumerate(_blocks(len(z), count, anchors)):
        # [rows, keys], logits so far, or what was kept
        weights = (z[rows] @ z[keys].T).mul_(s) if kept is None else kept[block]
        if weight is not None:
            weights = weights.exp_() if kept is None else weights
            weights = (weight[rows, None] + weight[keys]).mul_(weights)
        else:
            # A key's share of a sum that it is in is no more than 1; what is in none could reach infinity.
            of_keys = (weights - log_sums[keys]).clamp_max_(0).exp_().mul_(g[keys])
            weights = weights - log_sums[rows, None]
            weights.clamp_max_(0).exp_().mul_(g[rows, None]).add_(of_keys)
        if labels is not None:
            shares = g * pulls
            weights -= _same_class(labels, rows, keys) * (shares[rows, None] + shares[keys])
        _exclude(weights, rows, keys, count, paired, 0.0)
        dz[rows].addmm_(weights, z[keys])
        if rows != keys:
            dz[keys].addmm_(weights.T, z[rows])
    if paired:
        o, n = z[:count], z[count:]
        pull = (g * pulls)[:count, None] + (g * pulls)[count:, None]
        dz[:count].addcmul_(pull, n, value=-1)
        dz[count:].addcmul_(pull, o, value=-1)
    dz.mul_(s)
    dots = (dz * z).sum(1, keepdim=True)
    return dz.addcmul_(dots, z, value=-1).mul_(inverse[:, None]), dots


def unit_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return normalised rows and 1 / length [R], both 0 for a row of zeros."""
    largest = torch.linalg.vector_norm(x, math.inf, dim=1)
    is_zero = largest < torch.finfo(x.dtype).tiny
    largest.masked_fill_(is_zero, 1)
    z = x / largest[:, None]  # squares neither overflow nor vanish
    length = torch.linalg.vector_norm(z, dim=1).masked_fill_(is_zero, math.inf)
    return z.div_(length[:, None]), largest.reciprocal_().div_(length)


def bound_holds(s: float, dtype: torch.dtype) -> bool:
    """Return whether exp(s cos), sums of such, and ratios of those, are normal numbers."""
    return 2 * s < -math.log(torch.finfo(dtype).tiny) - 1


def _blocks(total: int, count: int, anchors: int) -> Iterator[tuple[slice, slice]]:
    """Yield the blocks on and above the diagonal that hold anchors; none lies across the end of the anchors.

    Few anchors are one block: there, calls cost more than pairs computed twice.
    """
    if anchors == total <= BLOCK:
        yield slice(0, total), slice(0, total)
        return
    ranges = [
        slice(start, min(start + BLOCK, end))
        for begin, end in ((0, count), (count, total))
        for start in range(begin, end, BLOCK)
    ]
    for i, rows in enumerate(ranges):
        if rows.start < anchors:
            yield from ((rows, keys) for keys in ranges[i:])


def _exclude(block: Tensor, rows: slice, keys: slice, count: int, paired: bool, value: float) -> None:
    """Overwrite each row's pair with itself, and with its partner."""
    for ahead in (0, count, -count) if paired else (0,):
        ahead += rows.start - keys.start  # of the first row
        if -block.shape[0] < ahead < block.shape[1]:
            block.diagonal(ahead).fill_(value)


def _same_class(labels: Tensor, rows: slice, keys: slice) -> Tensor:
    same = labels[rows, None] == labels[keys]
    return same.fill_diagonal_(False) if rows == keys else same


def _class_sizes(labels: Tensor) -> Tensor:
    _, index, sizes = labels.unique(return_inverse=True, return_counts=True)
    return sizes[index]
