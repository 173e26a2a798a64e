"""The definition of the contrastive losses, in plain torch, with matrices of all pairs.

Rows are normalised here; a self pair is masked, never subtracted, which float32 would not survive.
"""

import torch
from torch import Tensor


def normalize_rows(x: Tensor) -> Tensor:
    """Divide each row by its length; a row of zeros stays so, with gradient 0."""
    largest = x.detach().abs().amax(dim=1, keepdim=True)
    is_zero = largest < torch.finfo(x.dtype).tiny
    x = x / largest.masked_fill(is_zero, 1)  # squares neither overflow nor vanish
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True).masked_fill(is_zero, 1)
    return torch.where(is_zero, 0, x / length)


def clip_losses(o: Tensor, n: Tensor, temperature: float | Tensor, symmetric: bool) -> Tensor:
    """Return the loss of each clip [N]: its noisy view against all other rows, as seen from its clean view.

    Symmetric: the mean of that and of its clean view as seen from its noisy one.
    """
    a, b = normalize_rows(o), normalize_rows(n)  # [N, D]
    keys = torch.cat([b, a])  # [2N, D], the positive of clip i is row i
    losses = _anchor_losses(a, keys, temperature)
    if symmetric:
        losses = (losses + _anchor_losses(b, torch.cat([a, b]), temperature)) / 2
    return losses


def _anchor_losses(anchors: Tensor, keys: Tensor, temperature: float | Tensor) -> Tensor:
    """Return the loss of each anchor; keys [2N, D] are the other view's rows, then the anchors' own."""
    count = anchors.shape[0]
    logits = anchors @ keys.T / temperature  # [N, 2N]
    itself = torch.eye(count, dtype=torch.bool, device=anchors.device)
    logits = logits.masked_fill(torch.cat([torch.zeros_like(itself), itself], dim=1), -torch.inf)
    return torch.logsumexp(logits, dim=1) - logits.diagonal()


def group_loss(
    o: Tensor,
    n: Tensor,
    labels: Tensor,
    labels_n: Tensor,
    num_classes: int,
    temperature: float | Tensor,
    symmetric: bool,
) -> Tensor:
    """Return ``clip_losses`` over the class means of both views, averaged over the classes that both views have."""
    mean_o, count_o = class_means(o, labels, num_classes)
    mean_n, count_n = class_means(n, labels_n, num_classes)
    shared = (count_o > 0) & (count_n > 0)  # [K]
    losses = clip_losses(mean_o[shared], mean_n[shared], temperature, symmetric)
    return losses.sum() / max(len(losses), 1)


def class_means(
    x: Tensor, labels: Tensor, num_classes: int, counts: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return means [K, D] and ``counts`` [K], which are counted unless given; the mean of an empty class is 0."""
    if counts is None:
        counts = torch.zeros(num_classes, dtype=x.dtype, device=x.device).index_add(
            0, labels, torch.ones_like(labels, dtype=x.dtype)
        )
    sums = x.new_zeros(num_classes, x.shape[1]).index_add(0, labels, x)
    return sums / counts.clamp_min(1)[:, None], counts


def supervised_losses(z: Tensor, labels: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of each row [M] against the other rows of its class, and which rows [M] have such.

    Rows without are 0. Source: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020.
    """
    z = normalize_rows(z)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    positive = (labels[:, None] == labels[None, :]) & ~itself  # [M, M]
    has_positive = positive.any(dim=1)
    similarity = z @ z.T / temperature
    anchors = similarity[has_positive]
    positive = positive[has_positive]
    denominator = torch.logsumexp(anchors.masked_fill(itself[has_positive], -torch.inf), dim=1)
    attraction = (anchors * positive).sum(dim=1) / positive.sum(dim=1)
    losses = torch.zeros_like(similarity[:, 0]).masked_scatter(has_positive, denominator - attraction)
    return losses, has_positive
