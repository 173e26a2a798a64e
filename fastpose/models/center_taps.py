"""The exact shortcut for 1×1 images: only the centre tap of a spatial kernel meets anything but padding.

Activations are rows [T·B, C], time-major, from input to pooling, so every convolution is a matrix product, and
strides in space and max-pooling vanish. Parameters and buffers are those of the full network.
"""

import torch.nn.functional as F
from torch import Tensor, nn


def forward_center_taps(backbone: nn.Module, x: Tensor) -> Tensor:
    """Run a ``SlowOnly`` backbone on a 1×1 image: [B, C, T] → [T', B, 512]."""
    x = x.permute(2, 0, 1)  # [T, B, C]
    x = _conv_norm(backbone.conv1, x)
    for stage in (backbone.layer1, backbone.layer2, backbone.layer3):
        for block in stage:
            identity = x if block.downsample is None else _conv_norm(block.downsample, x)
            x = _conv_norm(block.conv3, _conv_norm(block.conv2, _conv_norm(block.conv1, x)))
            x = x.add_(identity).relu_()
    return x


def _conv_norm(layer: nn.Module, x: Tensor) -> Tensor:
    stride = layer.conv.stride[0]
    x = _convolve(x[::stride], layer.conv.weight)  # [T', B, C']
    x = layer.bn(x.flatten(0, 1)).view(x.shape)
    return x.relu_() if layer.relu else x


def _convolve(x: Tensor, weight: Tensor) -> Tensor:
    out_channels, in_channels, time, height, width = weight.shape
    center = weight.flatten(3)[..., height * width // 2]  # [C', C, kt]
    if time == 1:
        return F.linear(x, center[..., 0])
    y = F.linear(x, center.permute(2, 0, 1).reshape(3 * out_channels, in_channels))
    before, here, after = y.split(out_channels, dim=-1)
    return here + F.pad(before[:-1], (0, 0, 0, 0, 1, 0)) + F.pad(after[1:], (0, 0, 0, 0, 0, 1))
