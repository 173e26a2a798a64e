"""The renderer's kernels in Triton's interpreter against the reference. Run with TRITON_INTERPRET=1."""

import math

import numpy as np
import pytest
import torch
import triton.language as tl
from hypothesis import given
from hypothesis import strategies as st
from support.effort import few
from torch.testing import assert_close
from triton.runtime import interpreter

from fastpose.ops import render_heatmaps
from fastpose.ops.heatmap import kernels
from fastpose.ops.heatmap import kernels_gradient as gradient_kernels

TOLERANCE = {torch.float32: 5e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}
MODES = {
    "heatmap": {"mode": "heatmap"},
    "grayscale_sum": {"mode": "grayscale", "joint_merge": "sum"},
    "grayscale_max": {"mode": "grayscale", "joint_merge": "max"},
    "limb": {"mode": "limb"},
}
CONTIGUOUS, CHANNELS_LAST = torch.contiguous_format, torch.channels_last_3d


def random_poses(shape, size, seed=0, whole=False):
    """[B, M, T, V, 3], some joints beyond the borders, some missing, some damaged."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    xy = torch.rand(*shape, 2, generator=generator) * torch.tensor([width + 8.0, height + 8.0]) - 4
    score = torch.rand(*shape, 1, generator=generator)
    poses = torch.cat([xy.floor() if whole else xy, torch.where(score < 0.1, 0, score)], -1)
    flat = poses.view(-1, 3)
    damage = [(0, math.nan), (1, 3e38), (2, math.inf), (0, -(2.0**25)), (1, -math.inf), (2, math.nan)]
    for position, (part, value) in enumerate(damage):
        if 7 * position + 3 < len(flat):
            flat[7 * position + 3, part] = value
    return poses


def limbs_of(mode, joints):
    return [(0, joints - 1), (joints - 1, 0), (0, 0), (joints // 2, joints - 1)] if mode == "limb" else None


def flat(limbs):
    return [joint for pair in limbs or [] for joint in pair]


def assert_draws_as_the_reference(poses, size, sigma, mode, dtype, memory_format):
    arguments = {"size": size, "sigma": sigma, "limbs": limbs_of(mode, poses.shape[3]), **MODES[mode]}
    truth = render_heatmaps(poses.double(), **arguments, dtype=torch.float64, backend="reference")
    expected = render_heatmaps(poses, **arguments, dtype=dtype, backend="reference")
    out = torch.full_like(expected, math.nan).to(memory_format=memory_format)
    kernels.render(poses, out, sigma, mode, flat(arguments["limbs"]))
    allowed = (expected.double() - truth).abs() + TOLERANCE[dtype] * truth + 1e-6
    assert ((out.double() - truth).abs() <= allowed).all()
    assert ((out > 0) == (expected > 0))[expected.isnan() | (truth > 1e-20) | (truth == 0)].all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("shape", "size", "dtype", "memory_format"),
    [
        ((1, 2, 2, 17), (56, 56), torch.float32, CHANNELS_LAST),
        ((2, 2, 1, 13), (56, 56), torch.float16, CONTIGUOUS),
        ((1, 3, 1, 13), (63, 123), torch.bfloat16, CHANNELS_LAST),
        ((1, 1, 1, 5), (63, 123), torch.float32, CONTIGUOUS),
        ((1, 3, 1, 25), (7, 7), torch.float32, CONTIGUOUS),
        ((2, 2, 2, 1), (1, 1), torch.float32, CONTIGUOUS),
        ((1, 6, 1, 3), (9, 300), torch.bfloat16, CONTIGUOUS),  # a loop over persons, several columns of tiles
    ],
    ids=lambda value: str(value).replace(" ", ""),
)
def test_maps(mode, shape, size, dtype, memory_format):
    assert_draws_as_the_reference(random_poses(shape, size), size, 0.6, mode, dtype, memory_format)


@few
@given(
    shape=st.tuples(*[st.integers(1, 3)] * 4),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    sigma=st.sampled_from([0.1, 1.3, 5.0]),
    mode=st.sampled_from(list(MODES)),
    dtype=st.sampled_from(list(TOLERANCE)),
    memory_format=st.sampled_from([CONTIGUOUS, CHANNELS_LAST]),
    seed=st.integers(0, 99),
)
def test_maps_of_any_shape(shape, size, sigma, mode, dtype, memory_format, seed):
    assert_draws_as_the_reference(random_poses(shape, size, seed), size, sigma, mode, dtype, memory_format)


def test_results_are_rounded_once_to_nearest_even():
    """Of bf16 the interpreter cuts the low bits off; see test_heatmap_cubin.py."""
    poses = random_poses((1, 2, 3, 5), (16, 24))
    poses[..., 2] *= torch.tensor([1e-2, 1.0, 6e4])[:, None]  # subnormals of float16 to near its end
    full, rounded = torch.empty(1, 5, 3, 16, 24), torch.empty(1, 5, 3, 16, 24, dtype=torch.float16)
    for out in (full, rounded):
        kernels.render(poses, out, 0.6, "heatmap", [])
    assert torch.equal(rounded, full.half())


def test_a_limb_whose_end_is_far_away_stays_sharp():
    poses = torch.tensor([[4.0, 4.0, 1.0], [4.0 + 9e5, 4.0 + 9e5, 1.0]]).reshape(1, 1, 1, 2, 3)
    for memory_format in (CONTIGUOUS, CHANNELS_LAST):
        out = torch.full((1, 2, 1, 32, 32), math.nan).to(memory_format=memory_format)
        kernels.render(poses, out, 0.6, "limb", [0, 1, 1, 0])
        assert_close(out[0, 0, 0].diagonal()[4:], torch.ones(28), rtol=0, atol=1e-5)
        assert_close(
            out[0, 1, 0].diagonal(1)[4:], torch.full((27,), math.exp(-0.5 / 0.72)), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("shape", [(0, 1, 2, 3), (2, 0, 2, 3), (2, 1, 2, 0)], ids=str)
def test_empty_inputs(shape):
    poses = torch.zeros(*shape, 3)
    out = torch.full((shape[0], 1, shape[2], 4, 5), math.nan)
    kernels.render(poses, out, 0.6, "grayscale_sum", [])
    assert out.count_nonzero() == 0
    assert gradient_kernels.render_backward(out, poses, 0.6, "grayscale_sum", []).shape == poses.shape


def test_out_between_other_memory_is_written_alone():
    poses = random_poses((1, 1, 3, 2), (7, 9))
    memory = torch.full((3 + 2 * 3 * 63 + 8,), math.nan)
    kernels.render(poses, memory[3:-8].view(1, 2, 3, 7, 9), 0.6, "heatmap", [])
    assert memory[3:-8].isfinite().all()
    assert memory[:3].isnan().all()
    assert memory[-8:].isnan().all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("shape", "size", "sigma", "dtype", "memory_format", "whole"),
    [
        ((1, 2, 1, 5), (16, 20), 0.6, torch.float32, CONTIGUOUS, False),
        ((1, 3, 1, 3), (9, 7), 0.6, torch.bfloat16, CHANNELS_LAST, True),  # equal persons and joints
        ((1, 1, 1, 3), (40, 41), 6.0, torch.float32, CHANNELS_LAST, False),  # windows of several tiles
        ((1, 2, 2, 1), (1, 1), 0.6, torch.float16, CONTIGUOUS, False),
    ],
    ids=lambda value: str(value).replace(" ", ""),
)
def test_gradients(mode, shape, size, sigma, dtype, memory_format, whole):
    poses = random_poses(shape, size, 1, whole)
    if whole:
        poses[..., 2] = 0.7
        poses[:, -1] = poses[:, 0]
    arguments = {"size": size, "sigma": sigma, "limbs": limbs_of(mode, shape[3]), **MODES[mode]}
    free = poses.double().requires_grad_()
    maps = render_heatmaps(free, **arguments, dtype=torch.float64, backend="reference")
    gradient = torch.randn(maps.shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    (truth,) = torch.autograd.grad(maps, free, gradient.double())
    gradient = gradient.to(memory_format=memory_format)
    results = [
        gradient_kernels.render_backward(gradient, poses, sigma, mode, flat(arguments["limbs"]))
        for _ in range(2)
    ]
    assert torch.equal(*results)
    assert_close(results[0].double(), truth, rtol=1e-4, atol=2e-5 * truth.abs().amax().item() + 1e-6)


@pytest.fixture
def one_program(monkeypatch):
    """Launches run the program of the index given, and untouched memory stays untouched."""

    def choose(index):
        for module in (kernels, gradient_kernels):
            monkeypatch.setattr(module, "program_index", lambda: tl.full((), index, tl.int64))
            monkeypatch.setattr(module, "grid", lambda programs: (1,))

    monkeypatch.setattr(interpreter.GridExecutor, "_restore_args_dev", lambda *arguments: None)
    return choose


def untouched_zeros(count, dtype):
    """Memory that the system maps where it is touched; torch would write it all."""
    return torch.from_numpy(np.zeros(count * dtype.itemsize, np.uint8)).view(dtype)


@pytest.mark.parametrize(
    ("mode", "memory_format"),
    [
        ("heatmap", CONTIGUOUS),
        ("heatmap", CHANNELS_LAST),
        ("limb", CHANNELS_LAST),
        ("grayscale_sum", CONTIGUOUS),
    ],
)
def test_addresses_have_64_bits(mode, memory_format, one_program):
    side = 1024
    frames, channels = (2050, 1) if mode == "grayscale_sum" else (1030, 2)
    poses = torch.zeros(1, 1, frames, 2, 3)
    poses[..., -1, :, :] = torch.tensor([[1021.0, 1022.0, 0.5], [1022.0, 1022.0, 0.5]])
    limbs = [0, 1, 1, 0] if mode == "limb" else []
    elements = frames * channels * side * side
    memory = untouched_zeros(elements, torch.bfloat16)
    shape = (1, channels, frames, side, side)
    if memory_format == CHANNELS_LAST:
        out = memory.view(1, frames, side, side, channels).permute(0, 4, 1, 2, 3)
    else:
        out = memory.view(shape)
    assert elements > 2**31
    interleaved = 1 if out.is_contiguous() else channels
    tile = 512 if mode == "grayscale_sum" else 4096 if interleaved == 1 and mode == "heatmap" else 2048
    rows, columns = kernels.tile_shape(side, side * interleaved, tile)
    images = frames * channels // interleaved
    one_program(images * (side // rows) * (side * interleaved // columns) - 1)
    kernels.render(poses, out, 0.6, mode, limbs)
    assert out[0, -1, -1, 1022, 1022] >= 0.5
    assert memory[: 1 << 20].count_nonzero() == 0

    gradient = untouched_zeros(elements, torch.float32).as_strided(out.shape, out.stride())
    gradient[0, -1, -1, 1022, 1022] = 1
    one_program(frames * 2 - 1)
    assert gradient_kernels.render_backward(gradient, poses, 0.6, mode, limbs)[0, 0, -1, 1, 2] >= 0.5
