"""What operators of the C++ core share: dtypes, autocast and what they cannot serve."""

from typing import Any

import torch
from torch import Tensor

NATIVE_DTYPES = {torch.float32: "FLOAT32", torch.bfloat16: "BFLOAT16"}


def element_type(tensor: Tensor) -> Any:
    """Return the core's name of the tensor's dtype, one of ``NATIVE_DTYPES``."""
    from fastpose._native import native

    return getattr(native.ElementType, NATIVE_DTYPES[tensor.dtype])


def dense_floats(*tensors: Tensor) -> list[Tensor]:
    """Return the tensors in float32, each dense in memory, as the core reads parameters."""
    return [tensor.float().contiguous() for tensor in tensors]


def transform_obstacle() -> str | None:
    """Return why native code cannot serve a call within ``torch.func``, or None outside it."""
    return "has no rules for torch.func" if torch._C._are_functorch_transforms_active() else None


def autocast_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of a convolution of x: that of autocast where it is on, else its own."""
    if x.dtype != torch.float64 and torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype
