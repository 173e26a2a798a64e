"""The definition: one operator after the other."""

from torch import Tensor

from fastpose.ops.layers.batch_norm.reference import batch_norm_relu_reference
from fastpose.ops.layers.depthwise.reference import depthwise_conv3d_reference


def batch_norm_depthwise_reference(
    x: Tensor,  # [B, C, T, H, W]
    running_mean: Tensor | None,  # [C]
    running_var: Tensor | None,  # [C]
    norm_weight: Tensor,  # [C]
    norm_bias: Tensor,  # [C]
    weight: Tensor,  # [C, 1, kt, kh, kw]
    stride: tuple[int, int, int],
    training: bool,
    momentum: float,
    eps: float,
    relu: bool,
) -> Tensor:  # [B, C, T', H', W']
    x = batch_norm_relu_reference(
        x, running_mean, running_var, norm_weight, norm_bias, training, momentum, eps, None, relu
    )
    return depthwise_conv3d_reference(x, weight, stride)
