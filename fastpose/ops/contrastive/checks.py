"""What the public contrastive losses refuse. Each raises ValueError."""

import math

import torch
from torch import Tensor
from torch._C import _functorch  # pyright: ignore[reportAttributeAccessIssue]

REDUCTIONS = ("mean", "sum", "none")


def reduction(name: str) -> None:
    if name not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {name!r}")


def rows(name: str, x: Tensor) -> None:
    _not_batched(name, x)
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{name} must be a floating-point tensor, got {got}")
    if x.dim() != 2 or 0 in x.shape:
        raise ValueError(f"{name} must be [rows, dimensions] with at least one of each, got {tuple(x.shape)}")


def values(**rows: Tensor) -> None:
    for name, x in rows.items():
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return  # looking at the values would wait for the device, or break the graph
        x = x.detach()
        if math.isfinite(x.sum().item()):
            continue  # one pass; a sum that overflows says nothing yet
        if not (finite := x.isfinite()).all():
            raise ValueError(
                f"{name} has a non-finite value in row {(~finite.all(dim=1)).nonzero()[0].item()}"
            )


def _not_batched(name: str, x: Tensor) -> None:
    if torch.compiler.is_compiling() or not torch._C._are_functorch_transforms_active():
        return
    while isinstance(x, Tensor) and _functorch.is_functorch_wrapped_tensor(x):
        if _functorch.is_batchedtensor(x):
            raise NotImplementedError(
                f"{name} is batched by torch.func.vmap, which the contrastive losses do not support: they "
                "contrast each row with all others; call them once for each set of rows"
            )
        x = _functorch.get_unwrapped(x)


def views(o: Tensor, n: Tensor) -> None:
    rows("o", o)
    rows("n", n)
    if o.shape != n.shape:
        raise ValueError(f"o and n must have one shape, got {tuple(o.shape)} and {tuple(n.shape)}")
    if o.dtype != n.dtype or o.device != n.device:
        raise ValueError(
            f"o and n must have one dtype and device, got {o.dtype} on {o.device} and {n.dtype} on {n.device}"
        )


def labels(name: str, values: Tensor, x: Tensor) -> None:
    if not isinstance(values, Tensor) or values.dtype != torch.int64:
        got = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"{name} must be an int64 tensor, got {got}")
    if values.shape != x.shape[:1]:
        raise ValueError(f"{name} must be [{x.shape[0]}], one per row, got {tuple(values.shape)}")
    if values.device != x.device:
        raise ValueError(f"{name} must be on {x.device} as the rows are, got {values.device}")


def num_classes(value: int) -> None:
    if not isinstance(value, (int, torch.SymInt)) or isinstance(value, bool) or value < 1:
        raise ValueError(f"num_classes must be a positive whole number, got {value!r}")


def label_range(name: str, values: Tensor, num_classes: int) -> None:
    if values.device.type != "cpu" or torch.compiler.is_compiling():
        return  # looking at the values would wait for the device, or break the graph
    low, high = (value.item() for value in values.aminmax())
    if low < 0 or high >= num_classes:
        raise ValueError(f"{name} must lie in [0, {num_classes}), got {low} to {high}")


def temperature(value: float | Tensor, x: Tensor) -> None:
    if isinstance(value, Tensor):
        if value.dim() != 0 or not value.is_floating_point():
            raise ValueError(
                "a temperature tensor must be floating point without dimensions, got "
                f"{value.dtype} {tuple(value.shape)}"
            )
        if value.device.type != "cpu" and value.device != x.device:
            raise ValueError(f"the temperature is on {value.device}, the rows on {x.device}")
        if value.device.type != "cpu" or torch.compiler.is_compiling():
            return
        value = value.item()
    if not 0 < value < math.inf:
        raise ValueError(f"temperature must be a positive number, got {value}")
