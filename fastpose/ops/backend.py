"""Which implementation of an operator runs: native C++, a Triton kernel, or the plain torch reference."""

import functools
import importlib.util

import torch

from fastpose._native import extension_obstacle

BACKENDS = ("auto", "triton", "native", "reference")


def resolve_backend(op: str, backend: str, native_obstacle: str | None, triton_obstacle: str | None) -> str:
    """Return ``"triton"``, ``"native"`` or ``"reference"``.

    Args:
        op: public name of the operator, for errors.
        backend: one of `BACKENDS`; ``"auto"`` is a kernel or native code where one can serve, else the reference.
            In a model that is being exported it is the reference, which other programs can run.
        native_obstacle: why native code cannot serve this call (it completes "backend='native' …"), or None.
            Where the extension is missing, that is the obstacle.
        triton_obstacle: the same of the Triton kernel.

    Raises:
        ValueError: an unknown backend, or one that cannot serve the call.
    """
    if backend not in BACKENDS:
        raise ValueError(f"{op}: backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    obstacles = {
        "triton": triton_obstacle,
        "native": extension_obstacle() or native_obstacle,
        "reference": None,
    }
    if backend == "auto" and torch.compiler.is_exporting():
        return "reference"
    if backend == "auto":
        return next(name for name, obstacle in obstacles.items() if obstacle is None)
    if obstacles[backend] is not None:
        others = [name for name, obstacle in obstacles.items() if obstacle is None]
        raise ValueError(
            f"{op}: backend={backend!r} {obstacles[backend]}; choose {' or '.join(map(repr, ['auto', *others]))}"
        )
    return backend


@functools.cache
def has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def triton_device_obstacle(tensor: torch.Tensor) -> str | None:
    """Why a Triton kernel cannot work on ``tensor``, or None."""
    if tensor.device.type != "cuda":
        return f"needs its tensors on a CUDA device, and they are on {tensor.device}"
    if not has_triton():
        return "needs the package triton, which is not installed"
    return None
