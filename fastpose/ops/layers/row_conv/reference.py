"""The definition, in torch's own operators."""

import torch
import torch.nn.functional as F
from torch import Tensor


def norm_conv3d_reference(
    x: Tensor,  # [B, C, T, H, W]
    norm: tuple[Tensor, Tensor, Tensor, Tensor] | None,  # mean, variance, weight, bias: [C] each
    weight: Tensor,  # [C', C, kt, kh, kw]
    stride: tuple[int, int, int],
    relu: bool,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # y [B, C', T', H', W'], its mean and variance [C']
    if norm is not None:
        mean, variance, norm_weight, norm_bias = (part[:, None, None, None] for part in norm)
        x = (x - mean) * (norm_weight / (variance + eps).sqrt()) + norm_bias
        x = x.relu() if relu else x
    padding = [side // 2 for side in weight.shape[2:]]
    y = F.conv3d(x, weight, None, stride, padding)
    variance, mean = torch.var_mean(y, (0, 2, 3, 4), correction=0)
    return y, mean, variance
