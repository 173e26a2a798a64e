"""The definition, in torch's own operators."""

import torch.nn.functional as F
from torch import Tensor


def batch_norm_relu_reference(
    x: Tensor,  # [N, C, ...]
    running_mean: Tensor | None,  # [C]
    running_var: Tensor | None,  # [C]
    weight: Tensor,  # [C]
    bias: Tensor,  # [C]
    training: bool,
    momentum: float,
    eps: float,
    residual: Tensor | None,
    relu: bool,
) -> Tensor:
    y = F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    if residual is not None:
        y = y.add_(residual)
    return y.relu_() if relu else y
