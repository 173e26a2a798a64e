"""What users run today for the symmetric contrastive loss of 2N rows: one dense matrix, or chunks of its rows."""

import torch
import torch.nn.functional as F
from torch import Tensor


def dense_loss(o: Tensor, n: Tensor, temperature: float) -> Tensor:
    """Cross-entropy over all 2N x 2N logits, as lightly's and OpenCLIP's losses hold them."""
    z = F.normalize(torch.cat([o, n]), dim=1)  # [2N, D]
    return _rows_loss(z, z, 0, temperature) / len(z)


def dense_one_directional_loss(o: Tensor, n: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of N clean rows over the N noisy and the N - 1 other clean ones."""
    a, b = F.normalize(o, dim=1), F.normalize(n, dim=1)
    index = torch.arange(len(a), device=a.device)
    logits = a @ torch.cat([b, a]).T / temperature  # [N, 2N]
    return F.cross_entropy(logits.scatter(1, index[:, None] + len(a), -torch.inf), index)


def dense_group_loss(o: Tensor, n: Tensor, labels: Tensor, num_classes: int, temperature: float) -> Tensor:
    """The symmetric dense loss of class means, of the classes that have clips."""
    sizes = labels.bincount(minlength=num_classes)
    present = sizes > 0
    mean_o, mean_n = (
        (x.new_zeros(num_classes, x.shape[1]).index_add(0, labels, x) / sizes[:, None])[present]
        for x in (o, n)
    )
    return dense_loss(mean_o, mean_n, temperature)


def dense_supervised_loss(z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Supervised contrast over one dense matrix, as the authors' loss holds it; every row has a positive."""
    z = F.normalize(z, dim=1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    positive = (labels[:, None] == labels) & ~itself
    log_shares = (z @ z.T / temperature).masked_fill(itself, -torch.inf).log_softmax(1)
    return -(log_shares.masked_fill(~positive, 0).sum(1) / positive.sum(1)).mean()


def chunked_loss(o: Tensor, n: Tensor, temperature: float, chunk: int = 2048) -> Tensor:
    """The same a chunk of rows at a time, each chunk computed again in the backward pass."""
    z = F.normalize(torch.cat([o, n]), dim=1)
    total = z.new_zeros((), dtype=torch.float32)
    for start in range(0, len(z), chunk):
        total = total + torch.utils.checkpoint.checkpoint(
            _rows_loss, z[start : start + chunk], z, start, temperature, use_reentrant=False
        )
    return total / len(z)


def _rows_loss(rows: Tensor, z: Tensor, start: int, temperature: float) -> Tensor:
    index = torch.arange(start, start + rows.shape[0], device=z.device)
    logits = rows @ z.T / temperature  # [rows, 2N]
    logits = logits.scatter(1, index[:, None], -torch.inf)
    return F.cross_entropy(logits.float(), (index + z.shape[0] // 2) % z.shape[0], reduction="sum")
