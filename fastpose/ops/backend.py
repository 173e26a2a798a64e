"""Which implementation of an operator runs: one list of names, each with one meaning."""

import functools
import importlib.util

import torch

from fastpose._native import extension_obstacle

BACKENDS = {
    "auto": "the first of the others, in this order, that the operator has, that can serve the call",
    "triton": "Triton kernels, on a CUDA device",
    "native": "C++, on the CPU",
    "blocked": "plain torch in blocks, or densely where that is faster, on any device: differentiable once",
    "reference": "the definition in plain torch, on any device, with derivatives of any order",
}


def resolve_backend(op: str, backend: str, obstacles: dict[str, str | None]) -> str:
    """Return one of the names of ``obstacles``, or "reference", which every operator has and which serves all calls.

    Args:
        op: public name of the operator, for errors.
        backend: one of `BACKENDS`. "auto" in a model that is being exported is the reference, which other programs
            can run.
        obstacles: of each further backend that the operator has, why it cannot serve this call (it completes
            "backend='native' …"), or None. Without the compiled extension, that is what keeps native code from it.

    Raises:
        ValueError: an unknown backend, or one that cannot serve the call.
    """
    if backend not in BACKENDS:
        raise ValueError(f"{op}: backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    obstacles = {**obstacles, "reference": None}
    if "native" in obstacles:
        obstacles["native"] = extension_obstacle() or obstacles["native"]
    able = [name for name in BACKENDS if name in obstacles and obstacles[name] is None]
    if backend == "auto":
        return "reference" if torch.compiler.is_exporting() else able[0]
    if backend not in able:
        obstacle = obstacles.get(backend, "does not exist")
        raise ValueError(
            f"{op}: backend={backend!r} {obstacle}; choose {' or '.join(map(repr, ['auto', *able]))}"
        )
    return backend


@functools.cache
def has_triton() -> bool:
    """Return whether the package triton is installed."""
    return importlib.util.find_spec("triton") is not None


def triton_device_obstacle(tensor: torch.Tensor) -> str | None:
    """Return why a Triton kernel cannot work on ``tensor``, or None."""
    if tensor.device.type != "cuda":
        return f"needs its tensors on a CUDA device, and they are on {tensor.device}"
    if not has_triton():
        return "needs the package triton, which is not installed"
    return None
