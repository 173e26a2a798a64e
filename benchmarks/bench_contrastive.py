"""Symmetric contrastive loss, forward and backward, against dense and chunked forms and the matrix rate.

24 N² D operations: what the method does without using that the matrix of pairs is symmetric. The floor is the time of
that many at the rate of a square product of the same operands. On the CPU one thread, whose
times hold still; on a GPU replays of a CUDA graph, inputs rotated.
"""

from collections.abc import Callable

import peers_contrastive
import pytest
import torch

from fastpose.ops import contrastive_loss

CUDA = torch.cuda.is_available()
TEMPERATURE = 0.1
# Training's batch, and what large batches cost; the dense matrix of the last GPU rows would take 137 GB.
COUNTS = [32, 128, 512, 1024, 4096, 8192, 16384, 65536]
ON_GPU = [(count, width) for count in COUNTS for width in (128, 512, 2048) if count <= 16384 or width == 128]
GRID = ON_GPU if CUDA else [(32, 512), (64, 128), (256, 512), (512, 128), (1024, 512), (2048, 128)]
LARGEST_DENSE = 16384
COPIES = 4  # of the inputs on a GPU, so that they do not stay in its cache

_compiled = torch.compile(peers_contrastive.dense_loss, dynamic=True)
FORMS = {
    "fastpose": lambda o, n: contrastive_loss(o, n, TEMPERATURE, True),
    "dense": lambda o, n: peers_contrastive.dense_loss(o, n, TEMPERATURE),
    "compiled": lambda o, n: _compiled(o, n, TEMPERATURE),
    "chunked": lambda o, n: peers_contrastive.chunked_loss(o, n, TEMPERATURE),
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_views(count: int, width: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    o = torch.randn(count, width, generator=generator)
    n = o + torch.randn(count, width, generator=generator)
    dtype, device = (torch.bfloat16, "cuda") if CUDA else (torch.float32, "cpu")
    return [x.to(device, dtype).requires_grad_() for x in (o, n)]


def run(benchmark, step, count: int, width: int, repeats: int = 1, **extra_info) -> None:
    benchmark.group = f"contrastive {'GPU' if CUDA else 'CPU'} N = {count}"
    flop = 24 * count**2 * width
    benchmark.extra_info.update(clips=count * repeats, flop=flop * repeats, case=f"D = {width}", **extra_info)
    rounds = 20 if CUDA else max(3, min(15, int(1e10 / flop)))
    benchmark.pedantic(step, rounds=rounds, warmup_rounds=2 if CUDA or count < 2048 else 1)


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
def test_loss(benchmark, count, width, form):
    if form in ("dense", "compiled") and count > LARGEST_DENSE:
        pytest.skip("its matrix of pairs does not fit")
    views = make_views(count, width)
    expected = peers_contrastive.chunked_loss(*(x.detach().float() for x in views), TEMPERATURE)
    torch.testing.assert_close(FORMS[form](*views).detach().float(), expected, rtol=2e-2, atol=1e-3)
    role = {} if form == "fastpose" else {"role": "peer"}
    if CUDA:
        replay, peak = graphed(FORMS[form], views)
        run(
            benchmark, replay, count, width, COPIES, **role, peak_bytes=peak * 1e6, note=f"peak {peak:.0f} MB"
        )
    else:
        run(benchmark, lambda: torch.autograd.grad(FORMS[form](*views), views), count, width, **role)


@pytest.mark.parametrize(("count", "width"), GRID)
def test_matrix_rate(benchmark, count, width):
    """As many operations in products of 1024 (CPU) or 8192 rows: the floor, scaled to the loss's operations."""
    side = 8192 if CUDA else 1024
    a = torch.randn(
        side, side, dtype=torch.bfloat16 if CUDA else torch.float32, device="cuda" if CUDA else "cpu"
    )

    def product():
        a @ a
        if CUDA:
            torch.cuda.synchronize()

    benchmark.group = f"contrastive {'GPU' if CUDA else 'CPU'} N = {count}"
    share = 2 * side**3 / (24 * count**2 * width)  # of the loss's operations in one product
    benchmark.extra_info.update(
        clips=count * share, flop=2 * side**3, case=f"D = {width}", role="floor", note="matrix rate"
    )
    benchmark.pedantic(product, rounds=5 if not CUDA else 10, warmup_rounds=1)
