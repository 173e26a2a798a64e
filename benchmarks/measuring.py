"""How each benchmark is measured and described; benchmarks/conftest.py says what its parameters mean."""

import time
from collections.abc import Callable
from typing import Any

import torch

from fastpose.system.allocator import keep_freed_memory
from fastpose.system.placement import Placement

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SIDE = 2048  # of the square product whose rate is the floor


def size_name(size: tuple[int, int]) -> str:
    """Return a batch of clips and a number of threads as "B8 T2"."""
    return "B{} T{}".format(*size)


def measure(
    benchmark,
    function: Callable[[], object],
    section: str,
    *,
    who: str = "fastpose",
    seconds: float = 1.0,
    least: int = 3,
    **info: Any,
) -> None:
    """Time ``function`` for about ``seconds``, and describe the row by ``info``.

    Args:
        section: the table to which the row belongs.
        who: "fastpose", or the column of a peer; the one called "peer" is compared to rows of any dtype.
        least: number of rounds of a slow function, after a call that is not counted; 1 where that took over 2 s.
        info: see ``fastpose.evaluation.benchmark_table``. Unless given, ``row`` is the case with the dtype and
            ``threads`` those of torch.
    """
    defaults: dict[str, Any] = {"threads": torch.get_num_threads()}
    if "row" not in info and (words := [info[key] for key in ("case", "dtype") if info.get(key)]):
        defaults["row"] = " ".join(words)
    defaults |= {"role": "peer", "peer": who} if who != "fastpose" else {}
    keep_freed_memory(who != "peer")  # whose users have what glibc does by itself
    benchmark.group = section
    benchmark.extra_info.update(defaults | info | ({"dtype": None} if who == "peer" else {}))
    once = _seconds(function)
    if once < seconds / 4:
        once = _seconds(function)  # the first call also prepares
    fewest = least if once < 2 else 1
    benchmark.pedantic(function, rounds=min(max(int(seconds / once), fewest), 50))


def measure_products(benchmark, section: str, dtype: str, **info: Any) -> None:
    """Add the floor of ``section``'s rows in ``dtype``: the rate of a large matrix product in that dtype."""
    a, b = (torch.randn(SIDE, SIDE, dtype=DTYPES[dtype]) for _ in range(2))
    row = f"matrix product {dtype} T{torch.get_num_threads()}"
    measure(
        benchmark, lambda: a @ b, section, role="floor", dtype=dtype, flop=2 * SIDE**3, **{"row": row} | info
    )


def volume_format(dtype: str) -> torch.memory_format:
    """Return the memory format of the volumes of a model that is placed on the CPU."""
    layer = torch.nn.Conv3d(2, 2, 2)
    layer.takes_images = True
    weight = Placement.choose("cpu", dtype).place(layer).weight
    channels_last = weight.is_contiguous(memory_format=torch.channels_last_3d)
    return torch.channels_last_3d if channels_last else torch.contiguous_format


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
