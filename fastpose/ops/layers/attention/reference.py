"""The definition of attention over one axis, in plain torch."""

import torch.nn.functional as F
from torch import Tensor


def attend_reference(qkv: Tensor, num_heads: int, axis: int) -> Tensor:
    """See ``attend``."""
    parts = qkv.unflatten(-1, (3, num_heads, -1))  # [N, T, J, 3, h, d]
    other = 3 - axis
    parts = parts.permute(3, 0, other, 4, axis, 5)  # [3, N, other axis, h, axis, d]
    queries, keys, values = parts.flatten(1, 2)
    mixed = F.scaled_dot_product_attention(queries, keys, values)  # [N·other axis, h, axis, d]
    mixed = mixed.unflatten(0, (qkv.shape[0], qkv.shape[other]))
    order = (0, 1, 3, 2, 4) if axis == 2 else (0, 3, 1, 2, 4)
    return mixed.permute(order).flatten(-2)  # [N, T, J, h·d]
