"""The definition, in torch's own convolution."""

import torch.nn.functional as F
from torch import Tensor


def depthwise_conv3d_reference(
    x: Tensor,  # [B, C, T, H, W]
    weight: Tensor,  # [C, 1, kt, kh, kw]
    stride: tuple[int, int, int],
) -> Tensor:  # [B, C, T', H', W']
    padding = tuple(side // 2 for side in weight.shape[2:])
    return F.conv3d(x, weight.to(x.dtype), None, stride, padding, groups=len(weight))
