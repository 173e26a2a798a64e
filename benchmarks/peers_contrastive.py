"""What users run today for the symmetric contrastive loss of 2N rows: one dense matrix, or chunks of its rows."""

import torch
import torch.nn.functional as F
from torch import Tensor


def dense_loss(o: Tensor, n: Tensor, temperature: float) -> Tensor:
    """Cross-entropy over all 2N x 2N logits, as lightly's and OpenCLIP's losses hold them."""
    z = F.normalize(torch.cat([o, n]), dim=1)  # [2N, D]
    return _rows_loss(z, z, 0, temperature) / len(z)


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
