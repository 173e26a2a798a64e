"""How operators launch Triton kernels."""

import os

import torch
from torch import Tensor


def launch(kernel, grid: tuple[int, ...], *arguments, enable_fp_fusion: bool, **meta) -> None:
    """Run one kernel on the device of its first tensor.

    Args:
        kernel: a ``triton.jit`` function.
        grid: programs along each axis.
        arguments: those of the kernel by position, a tensor among them.
        enable_fp_fusion: whether a product and a sum may become one operation that rounds once. Each launch says
            so: Triton 3.9 does it by default, 3.10 no longer, and an environment variable decides for both.
        meta: the kernel's constants, and the compiler's options.
    """
    meta["enable_fp_fusion"] = enable_fp_fusion
    first = next(argument for argument in arguments if isinstance(argument, Tensor))
    if first.device.type != "cuda":
        kernel[grid](*arguments, **meta)  # the interpreter
        return
    with torch.cuda.device(first.device):
        kernel[grid](*arguments, **meta)


def rows_contiguous(x: Tensor) -> Tensor:
    return x if x.stride(1) == 1 or x.shape[1] == 1 else x.contiguous()


def ceil_div(size: int, block: int) -> int:
    return (size + block - 1) // block


_INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"  # Triton, too, reads it but once


def interpreting() -> bool:
    """Return whether kernels run in Triton's interpreter, which takes tensors on the CPU."""
    return _INTERPRETING
