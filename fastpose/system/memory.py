"""How much memory there is, and how much a computation takes."""

import ctypes
import resource
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MEMORY_FILES = (
    ("memory.max", "memory.current", "inactive_file"),  # of cgroup 2
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),  # of cgroup 1
)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operators make within it, while they live.

    What an operator needs for itself while it runs is not seen.

    Attributes:
        live: bytes of those that live now.
        peak: the most there have been.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Any,
        arguments: tuple[Any, ...] = (),
        keywords: dict[str, Any] | None = None,
    ) -> Any:
        for tensor in tree_leaves((arguments, keywords)):
            self._note(tensor, fresh=False)
        result = function(*arguments, **(keywords or {}))
        for tensor in tree_leaves(result):
            self._note(tensor, fresh=True)
        self.peak = max(self.peak, self.live)
        return result

    def _note(self, tensor: Any, *, fresh: bool) -> None:
        if not isinstance(tensor, Tensor):
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes() if fresh else 0
            self.live += self._sizes[key]
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.live -= self._sizes.pop(key)


@contextmanager
def counted_bytes(device: torch.device) -> Iterator[Callable[[], int]]:
    """Yield a function that returns the most bytes of tensors made within that lived at once; on CUDA, allocated."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: torch.cuda.max_memory_allocated(device) - before
    else:
        with (
            torch.compiler.set_stance("force_eager"),
            LiveBytes() as counter,
        ):  # compiled code hides its tensors
            yield lambda: counter.peak


def available_memory(device: torch.device, root: Path = Path("/")) -> int:
    """Return the bytes that can still be allocated: free on the GPU; on the CPU, free in the machine and its limits.

    Those are of the process's control groups (versions 1 and 2) and of its address space. Files that the system
    caches count as free.

    Args:
        root: where `proc` and `sys` are.

    Raises:
        ValueError: the system does not say.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(device)[0]
    _return_freed_memory()
    try:
        free = [_field(root / "proc/meminfo", "MemAvailable:") * 1024]
        groups = (root / "proc/self/cgroup").read_text()
    except (OSError, KeyError) as error:
        raise ValueError(f"the system does not say how much memory is available ({error})") from error
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            free += _free_in_groups(root / "sys/fs/cgroup" / controllers, path)
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        free.append(limit - _field(root / "proc/self/status", "VmSize:") * 1024)
    return max(min(free), 0)


def _return_freed_memory() -> None:
    """Let the C library give back what it keeps for later; the system would count it as used."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)


def _free_in_groups(mount: Path, path: str) -> Iterator[int]:
    """Yield what each group from ``path`` to the root leaves free; in a container only the root may be visible."""
    group = Path(path.lstrip("/"))
    for folder in (mount / part for part in (group, *group.parents)):
        for limit, usage, cached in MEMORY_FILES:
            try:
                most = (folder / limit).read_text().strip()
                if most != "max":
                    used = int((folder / usage).read_text())
                    yield int(most) - used + _field(folder / "memory.stat", cached)
            except (OSError, KeyError):
                continue


def _field(path: Path, name: str) -> int:
    """Return the number after ``name`` in a file of lines "name number …"."""
    for line in path.read_text().splitlines():
        words = line.split()
        if words and words[0] == name:
            return int(words[1])
    raise KeyError(f"no {name} in {path}")


def format_bytes(count: float) -> str:
    """Return "1.5 GB" or "12 MB"."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether ``error`` says that memory, of the machine or of the GPU, is exhausted."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    reasons = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(reason in str(error) for reason in reasons)


def begin_peak(device: torch.device) -> None:
    """Let ``peak_memory`` begin anew where that can be: on CUDA."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int:
    """Return the most bytes in use: on CUDA of tensors since ``begin_peak``; else of the process, since its start."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
