"""Each native layer, forward and backward, beside torch's own operators in the same dtype and memory format.

A layer that is not at least 1.3 times as fast in a dtype, over the shapes that the models give it, is not used there
by ``backend="auto"``. Volumes are in channels_last_3d order, and both sides keep freed memory.
"""

from collections.abc import Callable, Iterable

import pytest
import torch
from measuring import DTYPES
from measuring import measure as measure_call
from torch import Tensor

from fastpose.ops import attend, batch_norm_depthwise, batch_norm_relu, depthwise_conv3d

SIDES = {"native": "fastpose", "reference": "torch"}
TOLERANCE = {torch.float32: 5e-4, torch.bfloat16: 1e-2}  # of the norm, beyond torch's own error

# Volumes of 8 clips of 24 frames, rows of 32: (shape, residual, ReLU)
BATCH_NORMS = {
    "X3D stem": ((8, 24, 24, 28, 28), False, True),  # after the first convolution
    "X3D after depthwise": ((8, 108, 24, 7, 7), False, False),  # the most frequent of X3D-shallow
    "X3D block": ((8, 48, 24, 7, 7), True, True),  # the end of a block of the same stage
    "PoseConv3D stem": ((8, 32, 24, 56, 56), False, True),  # the largest volume, far beyond the cache
    "PoseConv3D middle": ((8, 64, 24, 14, 14), False, True),  # the most frequent of PoseConv3D
    "PoseConv3D block": ((8, 256, 24, 14, 14), True, True),  # the widest residual of the longest stage
    "skeleton narrow": ((768, 64), False, True),  # the most frequent on skeletons: all fits in a core's cache
    "skeleton block": ((768, 256), True, True),  # a residual on skeletons
}
# (shape, kernel, stride)
DEPTHWISE = {
    "X3D stem": ((8, 24, 24, 28, 28), (5, 1, 1), (1, 1, 1)),  # over time alone; runs without a norm before it
    "X3D first": ((8, 54, 24, 28, 28), (3, 3, 3), (1, 2, 2)),  # the largest
    "X3D middle": ((8, 108, 24, 7, 7), (3, 3, 3), (1, 1, 1)),  # the most frequent
    "X3D last": ((8, 216, 24, 4, 4), (3, 3, 3), (1, 1, 1)),  # an image of mostly borders
}
NORMED = [row for row in DEPTHWISE if row != "X3D stem"]  # those with a norm before them
NORM_DEPTHWISE = "batch norm and depthwise convolution"
# (shape of qkv, heads, axis)
ATTENTION = {
    "lite, joints": ((8, 24, 17, 3 * 256), 8, 2),  # MotionBERT-lite, 17 tokens a sequence
    "lite, frames": ((8, 24, 17, 3 * 256), 8, 1),  # 24 tokens, one in 17 rows of memory
    "full, joints": ((8, 24, 17, 3 * 512), 8, 2),  # MotionBERT, heads twice as wide
    "full, frames": ((8, 24, 17, 3 * 512), 8, 1),
}


def volume(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Normal values with the channels innermost in memory."""
    x = torch.randn(shape, dtype=dtype)
    return x.to(memory_format=torch.channels_last_3d) if x.ndim == 5 else x


def norm_parameters(channels: int) -> tuple[Tensor, Tensor]:
    """Weight and bias."""
    return torch.rand(channels) + 0.5, torch.randn(channels)


def measure(
    benchmark, layer: str, row: str, dtype: str, backend: str, run: Callable, *leaves: Tensor, who: str = ""
) -> None:
    """Time ``run(backend, *leaves)`` and its backward pass to the leaves, after a check against float64."""
    gradient = torch.randn_like(run("reference", *leaves))

    def step(which: str, *leaves: Tensor) -> list[Tensor]:
        output = run(which, *leaves)
        return [output.detach(), *torch.autograd.grad(output, leaves, gradient.to(output.dtype))]

    truth = step("reference", *(leaf.double().requires_grad_() for leaf in leaves))
    leaves = [leaf.requires_grad_() for leaf in leaves]
    for value, peer, exact in zip(step("native", *leaves), step("reference", *leaves), truth, strict=True):
        error, allowed = ((found - exact).norm() / exact.norm() for found in (value, peer))
        assert error <= allowed + TOLERANCE[DTYPES[dtype]], (layer, row, error.item())
    measure_call(
        benchmark,
        lambda: step(backend, *leaves),
        f"layer: {layer}",
        who=who or SIDES[backend],
        case=row,
        dtype=dtype,
        clips=len(gradient),
        seconds=0.2,
    )


def over(rows: Iterable[str]) -> Callable:
    """Parametrize a benchmark over rows and both sides."""

    def decorate(function: Callable) -> Callable:
        function = pytest.mark.parametrize("backend", SIDES)(function)
        return pytest.mark.parametrize("row", rows)(function)

    return decorate


@over(BATCH_NORMS)
def test_batch_norm(benchmark, row, dtype, backend):
    shape, has_residual, relu = BATCH_NORMS[row]
    torch.manual_seed(0)
    volumes = [volume(shape, DTYPES[dtype]) for _ in range(1 + has_residual)]

    def run(which: str, weight: Tensor, bias: Tensor, x: Tensor, residual: Tensor | None = None) -> Tensor:
        return batch_norm_relu(x, None, None, weight, bias, True, residual=residual, relu=relu, backend=which)

    measure(benchmark, "batch norm", row, dtype, backend, run, *norm_parameters(shape[1]), *volumes)


@over(DEPTHWISE)
def test_depthwise(benchmark, row, dtype, backend):
    shape, kernel, stride = DEPTHWISE[row]
    torch.manual_seed(0)
    x, weight = volume(shape, DTYPES[dtype]), torch.randn(shape[1], 1, *kernel)

    def run(which: str, x: Tensor, weight: Tensor) -> Tensor:
        return depthwise_conv3d(x, weight, stride, which)

    measure(benchmark, "depthwise convolution", row, dtype, backend, run, x, weight)


@over(NORMED)
def test_norm_depthwise(benchmark, row, dtype, backend):
    _, _, stride = DEPTHWISE[row]

    def run(which: str, x: Tensor, norm_weight: Tensor, norm_bias: Tensor, weight: Tensor) -> Tensor:
        return batch_norm_depthwise(x, None, None, norm_weight, norm_bias, weight, stride, backend=which)

    measure(benchmark, NORM_DEPTHWISE, row, dtype, backend, run, *norm_depthwise_leaves(row, dtype))


@pytest.mark.parametrize("row", NORMED)
def test_norm_then_depthwise(benchmark, row, dtype):
    """The two native operators one after the other, which the joint one has to beat."""
    _, _, stride = DEPTHWISE[row]

    def run(which: str, x: Tensor, norm_weight: Tensor, norm_bias: Tensor, weight: Tensor) -> Tensor:
        y = batch_norm_relu(x, None, None, norm_weight, norm_bias, True, backend=which)
        return depthwise_conv3d(y, weight, stride, which)

    leaves = norm_depthwise_leaves(row, dtype)
    measure(benchmark, NORM_DEPTHWISE, row, dtype, "native", run, *leaves, who="one by one")


def norm_depthwise_leaves(row: str, dtype: str) -> tuple[Tensor, ...]:
    shape, kernel, _ = DEPTHWISE[row]
    torch.manual_seed(0)
    weight = torch.randn(shape[1], 1, *kernel)
    return volume(shape, DTYPES[dtype]), *norm_parameters(shape[1]), weight


@over(ATTENTION)
def test_attention(benchmark, row, dtype, backend):
    shape, heads, axis = ATTENTION[row]
    torch.manual_seed(0)
    qkv = torch.randn(shape, dtype=DTYPES[dtype])
    measure(benchmark, "attention", row, dtype, backend, lambda which, x: attend(x, heads, axis, which), qkv)
