"""How operators launch Triton kernels."""

import os

import torch
from torch import Tensor


def launch(kernel, grid: tuple[int, ...], *arguments, **meta) -> None:
    """Run one kernel on the device of its first tensor."""
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


def interpreting() -> bool:
    """Return whether kernels run in Triton's interpreter, which takes tensors on the CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"
