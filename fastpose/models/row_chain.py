"""Layers in chains on the CPU in float32, where nothing that a batch norm made is stored between two convolutions.

Training normalises what a convolution reads, and takes statistics of what it writes; evaluation folds batch norms into
what convolutions write.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from fastpose.ops.layers.row_conv import Norm, norm_conv3d, norm_conv3d_evaluation, norm_conv_obstacle


class Layer(Protocol):
    """A convolution with its batch norm, and ReLU on request: ``fastpose.models.layers.ConvNorm``."""

    conv: Any
    bn: Any
    relu: bool
    quantized: Any


def has_hooks(*modules: Any) -> bool:
    """Return whether a module has hooks, which are called with its own call alone."""
    return any(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        for module in modules
    )


def can_chain(layers: Sequence[Layer], x: Tensor) -> bool:
    """Return whether ``forward_chain`` serves these layers on x: all of them train, or none and without gradients."""
    if x.device.type != "cpu" or x.ndim != 5 or torch.compiler.is_exporting():
        return False
    training = layers[0].bn.training
    if not training and torch.is_grad_enabled():
        return False
    return all(
        bn.affine
        and norm_conv_obstacle(x, (bn.running_mean, bn.running_var, bn.weight, bn.bias), conv.weight) is None
        and not conv.depthwise
        and layer.quantized is None
        and bn.training == training
        and bn.own
        and not has_hooks(layer, conv, bn)
        for layer in layers
        for conv, bn in [(layer.conv, layer.bn)]
    )


def forward_chain(layers: Sequence[Layer], x: Tensor, residual: Tensor | None = None) -> Tensor:
    """Return what the layers make of x [B, C, T, H, W] one after another; the last adds ``residual``."""
    last = layers[-1]
    if not last.bn.training:
        for layer in layers:
            added = residual if layer is last else None
            bn = layer.bn
            x = norm_conv3d_evaluation(
                x, layer.conv.taps(x), layer.conv.stride, (bn.running_mean, bn.running_var, bn.weight, bn.bias), bn.eps,
                relu=layer.relu or added is not None, residual=added,
            )  # fmt: skip
        return x
    norm: Norm | None = None
    relu, eps = False, 0.0
    for layer in layers:
        x, mean, variance = norm_conv3d(x, norm, layer.conv.taps(x), layer.conv.stride, relu=relu, eps=eps)
        if layer is last:
            break
        layer.bn.move_statistics(x, mean, variance)
        norm = mean, variance, layer.bn.weight, layer.bn.bias
        relu, eps = layer.relu, layer.bn.eps
    return last.bn(x, relu=last.relu or residual is not None, residual=residual, statistics=(mean, variance))
