"""The definition, in torch's own operators."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fastpose.ops.layers.int8_conv.weights import Int8Weights

LEVELS = 255


def round_rows(x: Tensor, dim: int) -> Tensor:
    """Return x with the numbers along ``dim`` rounded to one of 256 levels of their range, which includes zero."""
    low = x.amin(dim, keepdim=True).clamp_max(0)
    step = x.amax(dim, keepdim=True).clamp_min(0) / LEVELS - low / LEVELS
    inverse = 1 / step
    level = (x * inverse + (0.5 - low * inverse)).floor()
    rounded = torch.where(inverse.isfinite(), low + step * level, low)
    return torch.where(x.isfinite().all(dim, keepdim=True), rounded, torch.nan)


def int8_conv3d_reference(
    x: Tensor,  # [B, C, T, H, W]
    weights: Int8Weights,
    stride: tuple[int, int, int],
    residual: Tensor | None,  # [B, C', T', H', W']
    relu: bool,
) -> Tensor:  # [B, C', T', H', W']
    padding = [side // 2 for side in weights.shape[2:]]
    y = F.conv3d(round_rows(x, 1), weights.whole().to(x), None, stride, padding)
    y = y * weights.scale[:, None, None, None] + weights.shift[:, None, None, None]
    y = y if residual is None else y + residual
    return y.relu() if relu else y
