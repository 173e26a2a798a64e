"""The losses of few rows in plain torch: one matrix of pairs, kept for the gradient, and as few calls as will do.

Two matrix products instead of the three of automatic differentiation, since exp(logits) is symmetric.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fastpose.ops.contrastive.blocked import bound_holds, unit_rows

MOST_PAIRS = 768**2  # of anchors and rows: beyond, half of the matrix in blocks is faster


class Pairs(NamedTuple):
    """What the forward direction keeps of R rows, of which the first are anchors: one view's, or all."""

    z: Tensor  # [R, D] normalised
    inverse: Tensor  # [R, 1] 1 / length; 0 for rows of zeros
    terms: Tensor  # [anchors, R] exp(logits), or where ``shifted`` of logits less the row's largest; 0 for
    # itself and for the positive of a pair
    sums: Tensor  # [views, N] of the terms of each anchor; [R] where labels tell the positives
    positive: (
        Tensor  # [N], or [views, N] where ``shifted``: the positive's term; by label: how many there are
    )
    shifted: bool


def serves(anchors: int, rows: int) -> bool:
    """Return whether the pairs are few enough."""
    return anchors * rows <= MOST_PAIRS


def _shifts(rows: int, temperature: float, dtype: torch.dtype) -> bool:
    """Return whether sums and ratios of exp(logits) could overflow or vanish."""
    return not bound_holds(1 / temperature + math.log(rows), dtype)


def dense_forward(
    x: Tensor,  # [N, D]
    y: Tensor | None,  # [N, D]
    labels: Tensor | None,  # [N], where y is none
    temperature: float,
    symmetric: bool,
    reduction: str,
    verify: Callable[[], None],
) -> tuple[Tensor, float, Pairs]:
    """Return the loss, [] or [N], what a unit gradient of it gives each anchor, and what the gradient takes.

    It calls ``verify`` where values may not be finite.
    """
    count = len(x)
    z, inverse = _unit_rows(x if y is None else torch.cat([x, y]), verify)
    anchors = z if symmetric or y is None else z[:count]
    terms = torch.addmm(
        inverse[0], anchors, z.t(), beta=0, alpha=1 / temperature
    )  # logits; beta = 0 adds nothing
    shifted = _shifts(len(z), temperature, z.dtype)
    if labels is not None:
        return _labelled(z, inverse, terms, labels, shifted, reduction)
    of_clip = terms.view(-1, count, 2, count).diagonal(0, 1, 3)  # [views, 2, N] pairs of one clip
    if shifted:
        _shift_rows(terms)
        logits = torch.stack([view[1 - i] for i, view in enumerate(of_clip)])  # of the positives
        positive = logits.exp()
    else:
        logits, positive = None, terms.diagonal(count).exp()
    terms.exp_()
    of_clip.zero_()
    sums = terms.sum(1).view(-1, count)
    losses = (sums / positive).log1p_() if logits is None else (sums + logits.expm1()).log1p_() - logits
    share = 1 / len(losses)
    if reduction == "none":
        loss = losses.mean(0)
    elif reduction == "sum":
        loss = losses.sum() * share
    else:
        loss, share = losses.mean(), share / count
    return loss, share, Pairs(z, inverse, terms, sums, positive, shifted)


def _labelled(
    z: Tensor, inverse: Tensor, logits: Tensor, labels: Tensor, shifted: bool, reduction: str
) -> tuple[Tensor, float, Pairs]:
    """Do the same where labels [R] tell the positives."""
    same = labels[:, None] == labels
    same.fill_diagonal_(False)
    positives = same.sum(1).to(z.dtype)
    attraction = (logits * same).sum(1)
    if shifted:
        attraction -= positives * _shift_rows(logits)[:, 0]
    terms = logits.exp_().fill_diagonal_(0)
    sums = terms.sum(1)
    losses = sums.log() - attraction / positives
    counted = len(z)
    if (lone := positives == 0).any():
        losses.masked_fill_(lone, 0)
        sums.masked_fill_(lone, math.inf)
        counted = max(len(z) - int(lone.sum()), 1)
    share = 1 / counted if reduction == "mean" else 1.0
    loss = losses if reduction == "none" else losses.sum() * share
    return loss, share, Pairs(z, inverse, terms, sums, positives.clamp_min_(1), shifted)


def dense_backward(
    grad: Tensor,  # [] or [N]
    share: float,
    paired: bool,
    labels: Tensor | None,
    temperature: float,
    pairs: Pairs,
) -> tuple[Tensor, Tensor]:
    """Return what ``blocked_backward`` returns."""
    z, inverse, terms, sums, positive, shifted = pairs
    grad = grad * (share / temperature)
    if paired:
        count = len(z) // 2
        weights = grad / (sums + positive)  # [views, N]
        pull = (weights * sums).sum(0).neg_()
        pairs_of = _both_ways(weights.view(-1), terms, shifted)
        # of each clip's noisy view for its clean one, and where both are anchors, of its clean view for its noisy one
        positives = (len(sums), count), (2 * count * count - count, 2 * count + 1), count
        pairs_of.as_strided(*positives).copy_(pull)
    else:
        assert labels is not None  # without pairs
        weights, pull = grad / sums, grad / positive
        same = (labels[:, None] == labels).fill_diagonal_(False)
        pairs_of = _both_ways(weights, terms, shifted).sub_((pull[:, None] + pull).mul_(same))
    if len(terms) == len(z):
        dz = pairs_of @ z
    else:
        count = len(terms)
        dz = torch.empty_like(z)
        torch.mm(pairs_of, z, out=dz[:count])
        torch.mm(pairs_of[:, count:].t(), z[:count], out=dz[count:])
    dots = (dz * z).sum(1, keepdim=True)
    return dz.addcmul_(dots, z, value=-1).mul_(inverse), dots


def _shift_rows(logits: Tensor) -> Tensor:
    """Subtract from each row the largest of its logits with others, and return those [anchors, 1]."""
    itself = logits.diagonal()
    itself.fill_(-math.inf)
    largest = logits.amax(1, keepdim=True)
    largest.masked_fill_(largest == -math.inf, 0)  # a lone row
    logits.sub_(largest)
    return largest


def _both_ways(weights: Tensor, terms: Tensor, shifted: bool) -> Tensor:
    """Return the weight [anchors, R] of each pair in the sums of both its rows, as far as they are anchors."""
    anchors = len(terms)
    if shifted:
        pairs = weights.unsqueeze(1) * terms
        pairs[:, :anchors] += pairs[:, :anchors].t().clone()
        return pairs
    if anchors < terms.shape[1]:
        weights = torch.cat([weights, weights.new_zeros(terms.shape[1] - anchors)])
        return (weights[:anchors].unsqueeze(1) + weights).mul_(terms)
    return (weights.unsqueeze(1) + weights).mul_(terms)


@functools.cache
def _safe_length(dtype: torch.dtype) -> float:
    return math.sqrt(torch.finfo(dtype).tiny) * 2**20


def _unit_rows(rows: Tensor, verify: Callable[[], None]) -> tuple[Tensor, Tensor]:
    """Return what ``unit_rows`` does, with the inverse as [R, 1], in fewer calls where all lengths allow it."""
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    shortest, longest = lengths.aminmax()
    # Squares of what counts in the shortest row do not vanish, and those of the longest do not overflow.
    if shortest.item() > _safe_length(rows.dtype) and longest.item() < math.inf:
        inverse = lengths.reciprocal_()
        return rows * inverse, inverse
    verify()
    z, inverse = unit_rows(rows)
    return z, inverse[:, None]
