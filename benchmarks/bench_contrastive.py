"""Contrastive losses, forward and backward, against dense and chunked forms and the matrix rate.

The symmetric one has 24 N² D operations: what the method does without using that the matrix of pairs is symmetric.
The peers are the dense form, the same under torch.compile and, on a GPU, chunks of its rows. On the CPU one thread,
whose times hold still; on a GPU replays of a CUDA graph, inputs rotated.
"""

from collections.abc import Callable

import peers_contrastive
import pytest
import torch
from measuring import DTYPES, measure, measure_products

from fastpose.ops import contrastive_loss, group_contrastive_loss, supervised_contrastive_loss

CUDA = torch.cuda.is_available()
SECTION = f"contrastive losses, symmetric unless said, {'GPU' if CUDA else 'CPU'}"
THREADS = (1,)
HAS_BF16 = CUDA
TEMPERATURE = 0.1
# Training's batches, and what large ones cost; the dense matrix of the last GPU rows would take 137 GB.
COUNTS = [32, 128, 512, 1024, 4096, 8192, 16384, 65536]
ON_GPU = [(count, width) for count in COUNTS for width in (128, 512, 2048) if count <= 16384 or width == 128]
GRID = ON_GPU if CUDA else [(count, 512) for count in (32, 64, 256, 1024)]
LARGEST_DENSE = 16384
COPIES = 4  # of the inputs on a GPU, so that they do not stay in its cache

_compiled = torch.compile(peers_contrastive.dense_loss, dynamic=True)
FORMS = {
    "fastpose": lambda o, n: contrastive_loss(o, n, TEMPERATURE, True),
    "dense": lambda o, n: peers_contrastive.dense_loss(o, n, TEMPERATURE),
    "compiled": lambda o, n: _compiled(o, n, TEMPERATURE),
}
if CUDA:  # with so few rows as are timed on the CPU, one chunk holds them all
    FORMS["chunked"] = lambda o, n: peers_contrastive.chunked_loss(o, n, TEMPERATURE)


def make_views(count: int, width: int, dtype: str) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    o = torch.randn(count, width, generator=generator)
    n = o + torch.randn(count, width, generator=generator)
    return [x.to("cuda" if CUDA else "cpu", DTYPES[dtype]).requires_grad_() for x in (o, n)]


def graphed(form, inputs) -> tuple[Callable[[], None], float]:
    """Return what replays the step over rotated inputs once, and the step's peak memory in MB."""
    copies = [[x.detach().clone().requires_grad_() for x in inputs] for _ in range(COPIES)]

    def step(views):
        return torch.autograd.grad(form(*views), views)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for views in copies:
            step(views)  # compiles
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(copies[0])
        torch.cuda.synchronize()
        peak = (torch.cuda.max_memory_allocated() - before) / 1e6
    graphs = []
    for views in copies:
        graphs.append(torch.cuda.CUDAGraph())
        with torch.cuda.graph(graphs[-1]):
            step(views)

    def replay():
        for graph in graphs:
            graph.replay()
        torch.cuda.synchronize()

    return replay, peak


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("count", "width"), GRID)
def test_loss(benchmark, count, width, form, dtype, threads):
    if form in ("dense", "compiled") and count > LARGEST_DENSE:
        pytest.skip("dense losses of more rows than fit")
    if CUDA and dtype == "fp32" and count > 4096:
        pytest.skip("losses of many rows in fp32, which take long")
    views = make_views(count, width, dtype)
    expected = peers_contrastive.chunked_loss(*(x.detach().float() for x in views), TEMPERATURE)
    torch.testing.assert_close(FORMS[form](*views).detach().float(), expected, rtol=2e-2, atol=1e-3)
    flop = 24 * count**2 * width
    info = {"who": form, "case": f"N {count} D {width}", "dtype": dtype}
    if not CUDA:
        step = lambda: torch.autograd.grad(FORMS[form](*views), views)  # noqa: E731
        measure(benchmark, step, SECTION, clips=count, flop=flop, seconds=0.5, **info)
        return
    replay, peak = graphed(FORMS[form], views)
    work = {"clips": count * COPIES, "flop": flop * COPIES, "peak_bytes": peak * 1e6}
    measure(benchmark, replay, SECTION, seconds=0.2, **work, **info)


CLASSES = 20
LABELS = torch.arange(64) % CLASSES
OTHERS = {
    "one-directional": (
        lambda o, n: contrastive_loss(o, n, TEMPERATURE),
        lambda o, n: peers_contrastive.dense_one_directional_loss(o, n, TEMPERATURE),
    ),
    "group": (
        lambda o, n: group_contrastive_loss(o, n, LABELS, CLASSES, temperature=TEMPERATURE, symmetric=True),
        lambda o, n: peers_contrastive.dense_group_loss(o, n, LABELS, CLASSES, TEMPERATURE),
    ),
    "supervised": (
        lambda o, n: supervised_contrastive_loss(torch.cat([o, n]), LABELS.repeat(2), TEMPERATURE),
        lambda o, n: peers_contrastive.dense_supervised_loss(
            torch.cat([o, n]), LABELS.repeat(2), TEMPERATURE
        ),
    ),
}


@pytest.mark.skipif(CUDA, reason="losses of a training batch on the CPU")
@pytest.mark.parametrize("form", ["fastpose", "dense"])
@pytest.mark.parametrize("loss", OTHERS)
def test_other_losses(benchmark, loss, form, dtype, threads):
    ours, dense = OTHERS[loss]
    views = make_views(len(LABELS), 512, dtype)
    tolerance = {"fp32": 1e-3, "bf16": 2e-2}[dtype]  # ours sums in float32
    found, expected = (of_form(*views).detach().float() for of_form in (ours, dense))
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=1e-4)
    run = ours if form == "fastpose" else dense
    info = {"who": form, "case": f"{loss} N {len(LABELS)} D 512", "dtype": dtype, "clips": len(LABELS)}
    measure(benchmark, lambda: torch.autograd.grad(run(*views), views), SECTION, seconds=0.3, **info)


def test_products(benchmark, threads, dtype):
    if not CUDA:
        measure_products(benchmark, SECTION, dtype)
        return
    a = torch.randn(8192, 8192, dtype=DTYPES[dtype], device="cuda")

    def product() -> None:
        a @ a
        torch.cuda.synchronize()

    row = f"matrix product {dtype}"
    measure(benchmark, product, SECTION, role="floor", row=row, dtype=dtype, flop=2 * 8192**3)
