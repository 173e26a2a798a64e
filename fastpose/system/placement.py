"""Where a model runs: device, dtype of its matrix products, memory format, and what becomes of freed memory."""

import warnings
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from fastpose.system.allocator import keep_freed_memory
from fastpose.system.environment import cpu_has_bf16, cpu_has_vnni

Model = TypeVar("Model", bound=nn.Module)


VOLUME_FORMAT = torch.channels_last_3d  # of volumes and their convolutions' weights


@dataclass(frozen=True, slots=True)
class Placement:
    """A device, and the dtype of matrix products on it: torch.bfloat16, torch.float32 or, to evaluate, torch.int8."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def choose(cls, device: str = "auto", precision: str = "auto", *, evaluates: bool = False) -> "Placement":
        """Return the placement by name.

        Args:
            device: "cpu", "cuda", or "auto": CUDA where torch finds a device.
            precision: "bf16", "fp32", or "auto": bf16 on GPUs and on CPUs that multiply bf16 in hardware. "int8" too
                for a model that ``evaluates``, on the CPU.

        Raises:
            ValueError: an unknown name, there is no CUDA device, or int8 on one.
        """
        if device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device = {device!r}: expected auto, cpu or cuda")
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device = 'cuda': torch finds no CUDA device here")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        known = ("auto", "bf16", "fp32", "int8") if evaluates else ("auto", "bf16", "fp32")
        if precision not in known:
            raise ValueError(f"precision = {precision!r}: expected {', '.join(known[:-1])} or {known[-1]}")
        if precision == "int8" and device != "cpu":
            raise ValueError("precision = 'int8' runs on the CPU alone: device = 'cpu' is expected beside it")
        if precision == "int8" and not cpu_has_vnni():
            warnings.warn(
                "precision = 'int8' is slower than fp32 on this processor, which has no AVX512-VNNI",
                stacklevel=3,
            )
        if precision == "auto":
            precision = "bf16" if device == "cuda" or cpu_has_bf16() else "fp32"
        dtypes = {"bf16": torch.bfloat16, "fp32": torch.float32, "int8": torch.int8}
        return cls(torch.device(device), dtypes[precision])

    @classmethod
    def of(cls, model: nn.Module) -> "Placement":
        """Return where ``model`` is, its matrix products in float32; the CPU for one without parameters."""
        parameter = next(model.parameters(), None)
        return cls(torch.device("cpu") if parameter is None else parameter.device, torch.float32)

    def autocast(self) -> torch.autocast:
        """Return the context in which a model runs."""
        enabled = self.dtype == torch.bfloat16
        return torch.autocast(self.device.type, self.dtype if enabled else None, enabled=enabled)

    def place(self, model: Model) -> Model:
        """Move ``model`` to the device, in the memory format in which it is fast there.

        Its attribute ``takes_images``, where it has one, says that it takes volumes of more than one pixel. On
        the CPU the process keeps freed memory from here on (``keep_freed_memory``).
        """
        if self.device.type == "cpu":
            keep_freed_memory()
        images = getattr(model, "takes_images", False)
        format = VOLUME_FORMAT if images else torch.contiguous_format
        module: Any = model  # torch's annotations of its method lack the memory format alone
        return module.to(self.device, memory_format=format)

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')} on {self.device}"
