"""The exact shortcut for 1×1 images: only the centre tap of a spatial kernel meets anything but padding.

Activations are rows [T·B, C], time-major, from input to pooling, so every convolution is a matrix product,
and strides in space and max-pooling vanish. Parameters and buffers are those of the full network.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fastpose.models.layers import ConvNorm, ResidualBlock


def forward_center_taps(backbone: Any, x: Tensor) -> Tensor:
    """Run a ``SlowOnly`` backbone on a 1×1 image: [B, C, T] → [T', B, 512]."""
    batch, channels, _ = x.shape
    if torch.compiler.is_exporting():
        x = _forward_blocks(backbone, x[..., None, None], _narrow_conv_norm)  # [B, 512, T', 1, 1]
        return x.flatten(2).permute(2, 0, 1)
    x = x.permute(2, 0, 1).reshape(-1, channels)  # [T·B, C]
    x = _forward_blocks(backbone, x, functools.partial(_conv_norm, batch=batch))
    return x.view(-1, batch, x.shape[1])


def _forward_blocks(backbone: Any, x: Tensor, layer: Callable[..., Tensor]) -> Tensor:
    x = backbone.segment(backbone.conv1, functools.partial(layer, backbone.conv1))(x)
    for block in (*backbone.layer1, *backbone.layer2, *backbone.layer3):
        x = backbone.segment(block, functools.partial(_forward_block, block, layer))(x)
    return x


def _forward_block(block: ResidualBlock, layer: Callable[..., Tensor], x: Tensor) -> Tensor:
    identity = x if block.downsample is None else layer(block.downsample, x)
    return layer(block.conv3, layer(block.conv2, layer(block.conv1, x)), residual=identity)


def _narrow_conv_norm(layer: ConvNorm, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """Apply the centre taps as a convolution [B, C, T, 1, 1] → [B, C', T', 1, 1], as exported programs do."""
    weight = layer.conv.weight
    time, height, width = weight.shape[2:]
    taps = weight[..., height // 2, width // 2, None, None]  # [C', C, time, 1, 1]
    x = F.conv3d(x, taps, stride=(layer.conv.stride[0], 1, 1), padding=(time // 2, 0, 0))
    return layer.bn(x, relu=layer.relu or residual is not None, residual=residual)


def _conv_norm(layer: ConvNorm, x: Tensor, residual: Tensor | None = None, *, batch: int) -> Tensor:
    if layer.quantized is not None:
        return layer.quantized.rows(x, residual, batch)
    stride = layer.conv.stride[0]
    if stride > 1:
        x = x.view(-1, batch, x.shape[1])[::stride].flatten(0, 1)
    x = _convolve(x, layer.conv.weight, batch)
    return layer.bn(x, relu=layer.relu or residual is not None, residual=residual)


def _convolve(x: Tensor, weight: Tensor, batch: int) -> Tensor:
    out_channels, in_channels, time, height, width = weight.shape
    if time == 1:
        return F.linear(x, weight.flatten(2)[..., height * width // 2])
    # three products in one, then a shifted sum: smaller than one product of three shifted inputs
    taps = weight.view(out_channels, in_channels, time).permute(2, 0, 1)  # [3, C', C]
    return _ShiftedSum.apply(F.linear(x, taps.reshape(-1, in_channels)), batch)


class _ShiftedSum(torch.autograd.Function):
    """y[t] = before[t − 1] + here[t] + after[t + 1], each [T·B, C], side by side in [T·B, 3·C]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, batch: int) -> Tensor:
        ctx.batch = batch
        before, here, after = x.chunk(3, dim=1)
        y = here.clone(memory_format=torch.contiguous_format)
        y[batch:] += before[:-batch]
        y[:-batch] += after[batch:]
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        batch = ctx.batch
        grad_x = grad.new_empty(grad.shape[0], 3, grad.shape[1])
        grad_x[:, 1] = grad
        grad_x[:-batch, 0] = grad[batch:]
        grad_x[-batch:, 0].zero_()
        grad_x[batch:, 2] = grad[:-batch]
        grad_x[:batch, 2].zero_()
        return grad_x.flatten(1), None
