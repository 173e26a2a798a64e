"""Public calls on CPU tensors, whose Triton kernels are specialised and compiled as for a GPU, and not run.

Compiling a kernel with chosen arguments skips what its callers pass, and the interpreter skips what the compiler
sees: None, integers that are 1 or multiples of 16, code that no run would reach.
"""

import contextlib
import importlib
import pkgutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from support.needs import NO_TRITON

pytest.importorskip("triton", reason=NO_TRITON)

from triton.backends.compiler import GPUTarget
from triton.runtime import driver

import fastpose
from fastpose.data.sampling import device
from fastpose.ops import backend
from fastpose.ops import launch as launching
from fastpose.ops.contrastive import fused, op

for _module in pkgutil.walk_packages(fastpose.__path__, "fastpose."):
    if "kernels" in _module.name:  # imported when first used, with what they import replaced otherwise
        importlib.import_module(_module.name)

SHARED_MEMORY = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}  # bytes that one block may have
GRID = (2**31 - 1, 2**16 - 1, 2**16 - 1)
PROCESSORS = {80: 108, 90: 132, 100: 148}


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch: the kernel's name, its grid, and what the compiler made of it."""

    kernel: str
    grid: tuple[int, ...]
    compiled: object


class MockedDriver:
    """What Triton asks of a driver before it compiles."""

    def __init__(self, architecture: int) -> None:
        self._architecture = architecture

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self._architecture, 32)

    def get_current_device(self) -> int:
        return self._architecture  # each has its own cache of compiled kernels

    def get_current_stream(self, device: int) -> int:
        return 0


@contextlib.contextmanager
def dry_launches(architecture: int) -> Iterator[list[Launch]]:
    """Within, operators and samplers take CPU tensors for those of a GPU; the result lists what they launched.

    Results are whatever memory held.
    """
    launches: list[Launch] = []

    def launch(kernel, grid, *arguments, **meta) -> None:
        compiled = kernel.warmup(*arguments, grid=grid, **meta)
        assert all(0 < size <= most for size, most in zip(grid, GRID, strict=False)), grid
        assert compiled.metadata.shared <= SHARED_MEMORY[architecture], kernel.fn.__name__
        launches.append(Launch(kernel.fn.__name__, grid, compiled))

    replaced = {
        launching.launch: launch,
        backend.triton_device_obstacle: lambda tensor: None,
        device._checked_device: torch.device,
        fused._processors_and_capability: lambda device: (PROCESSORS[architecture], architecture),
    }
    with pytest.MonkeyPatch.context() as patch, _cuda_kernels_on_the_cpu():
        for original, replacement in replaced.items():
            _replace(patch, original, replacement)
        patch.setattr(op, "interpreting", lambda: True)  # tensors on the CPU may pass
        patch.setattr(driver, "_active", MockedDriver(architecture))
        yield launches


def _replace(patch: pytest.MonkeyPatch, original: Callable, replacement: Callable) -> None:
    """Replace a function in all modules of the package that hold it."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "fastpose":
            for attribute, value in list(vars(module).items()):
                if value is original:
                    patch.setattr(module, attribute, replacement)


@contextlib.contextmanager
def _cuda_kernels_on_the_cpu() -> Iterator[None]:
    library = torch.library.Library("fastpose", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*Overriding a previously registered kernel")
        for name in torch._C._dispatch_get_registrations_for_dispatch_key("CUDA"):
            namespace, _, operator = name.partition("::")
            if namespace == "fastpose":
                overload = getattr(torch.ops.fastpose, operator).default
                library.impl(operator, _as_on_cuda(overload), "CPU", allow_override=True)
    try:
        yield
    finally:
        library._destroy()  # what was registered before serves again


def _as_on_cuda(overload) -> Callable:
    return lambda *arguments: overload._op_dk(torch._C.DispatchKey.CUDA, *arguments)
