"""What a run depends on beside its settings: versions, processor, device."""

import os
import platform
import sys
from importlib import metadata

import torch

import fastpose
from fastpose._native import extension_obstacle

PACKAGES = ("torch", "numpy", "triton", "safetensors", "scipy")


def cpu_flags() -> frozenset[str]:
    """Return the instruction sets that Linux names for this processor."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("flags"):
                    return frozenset(line.partition(":")[2].split())
    except OSError:
        pass
    return frozenset()


def cpu_has_bf16() -> bool:
    """Return whether the CPU multiplies bf16 matrices in hardware (AVX512-BF16 or AMX)."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16"})


def cpu_has_vnni() -> bool:
    """Return whether the CPU has the instructions for products of bytes that int8 uses (AVX512-VNNI)."""
    return "avx512_vnni" in cpu_flags()


def cpu_instructions() -> str:
    """Return the widest vector instructions of the CPU, and those for bf16 and int8: "AVX-512, VNNI, bf16"."""
    flags = cpu_flags()
    widths = (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("avx", "AVX"))
    names = [next((name for flag, name in widths if flag in flags), "no AVX")]
    names += ["VNNI"] if flags & {"avx512_vnni", "avx_vnni"} else []
    names += ["AMX"] if "amx_tile" in flags else []
    return ", ".join([*names, "bf16" if cpu_has_bf16() else "no bf16"])


def cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe() -> dict[str, object]:
    """Return versions, processor and GPU as a flat dictionary that can be written as JSON."""
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "fastpose": fastpose.__version__,
        "python": sys.version.split()[0],
        **versions,
        "extension": extension_obstacle() is None,
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cpu_cores": len(os.sched_getaffinity(0)),
        "cpu_instructions": cpu_instructions(),
        "cpu_bf16": cpu_has_bf16(),
        "torch_threads": torch.get_num_threads(),
        "gpu": gpu,
        "cuda": torch.version.cuda,
    }


def summary() -> str:
    """Return the processor, its instructions, cores and threads, and torch's version, in one line."""
    cores, threads = len(os.sched_getaffinity(0)), torch.get_num_threads()
    counts = ", ".join(
        f"{count} {what}{'' if count == 1 else 's'}" for count, what in ((cores, "core"), (threads, "thread"))
    )
    return f"{cpu_name()} ({cpu_instructions()}), {counts}, torch {torch.__version__}"
