"""Where a model runs and in which number format its matrix products are."""

from dataclasses import dataclass

import torch

from fastpose.system.environment import cpu_has_bf16


def choose_device(name: str) -> torch.device:
    """Return the device for "auto", "cpu" or "cuda"."""
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device = {name!r}: expected auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device = 'cuda': torch finds no CUDA device here")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of matrix products for "bf16", "fp32" or "auto".

    auto is bf16 on GPUs and on CPUs that multiply bf16 in hardware, else fp32.
    """
    if name not in ("auto", "bf16", "fp32"):
        raise ValueError(f"precision = {name!r}: expected auto, bf16 or fp32")
    if name == "auto":
        name = "bf16" if device.type == "cuda" or cpu_has_bf16() else "fp32"
    return {"bf16": torch.bfloat16, "fp32": torch.float32}[name]


@dataclass(frozen=True, slots=True)
class Autocast:
    """Makes the context in which a model runs on a kind of device, its matrix products in ``dtype``."""

    device_type: str
    dtype: torch.dtype

    def __call__(self) -> torch.autocast:
        return torch.autocast(self.device_type, self.dtype, enabled=self.dtype != torch.float32)


def autocast_for(device: torch.device, precision: str) -> Autocast:
    """Return what makes the context in which the model runs, for a ``precision`` of ``choose_precision``."""
    return Autocast(device.type, choose_precision(precision, device))
