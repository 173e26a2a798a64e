"""The stem's kernels in Triton's interpreter against the reference. Run with TRITON_INTERPRET=1."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.effort import few
from support.stem import channels_of, error, limbs_of, make_case, results

from fastpose.ops.stem import kernels
from fastpose.ops.stem import kernels_keypoint_gradient as keypoint_kernels
from fastpose.ops.stem import kernels_weight_gradient as weight_kernels

TOLERANCE = {torch.float32: 5e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}


def flat(limbs):
    return [joint for pair in limbs or [] for joint in pair]


def assert_agrees(mode, shape, size, kernel, out_channels, stride, padding, sigma, dtype, seed=0):
    """Output and both gradients."""
    keypoints, weight, arguments = make_case(mode, shape, size, kernel, out_channels, seed)
    truths = results(
        keypoints.double(), weight.double(), dtype, "reference", dtype=torch.float64, sigma=sigma,
        stride=stride, padding=padding, **arguments,
    )  # fmt: skip
    layout = {"dtype": dtype, "memory_format": torch.channels_last_3d}
    gradient = torch.randn(truths[0].shape, generator=torch.Generator().manual_seed(9)).to(dtype)
    settings = (size, sigma, mode, flat(limbs_of(mode, shape[3])), stride, padding)
    output = torch.full_like(truths[0], math.nan, **layout)
    kernels.convolve(keypoints, weight, output, *settings)
    keypoint_gradient = keypoint_kernels.keypoint_gradient(gradient, keypoints, weight, *settings)
    weight_gradient = weight_kernels.weight_gradient(gradient, keypoints, weight.shape, *settings)
    found_all = output, keypoint_gradient, weight_gradient
    for name, found, truth in zip(("output", "keypoints", "weight"), found_all, truths, strict=True):
        assert found.isfinite().all(), name
        assert error(found, truth) <= (TOLERANCE[dtype] if name == "output" else 1e-4), name


@pytest.mark.parametrize(
    ("mode", "shape", "size", "kernel", "out_channels", "stride", "padding", "sigma", "dtype"),
    [
        ("heatmap", (1, 1, 1, 3), (9, 10), (1, 7, 7), 8, (1, 1, 1), (0, 3, 3), 0.6, torch.bfloat16),
        ("heatmap", (1, 2, 1, 3), (12, 11), (1, 3, 3), 24, (1, 2, 2), (0, 1, 1), 0.6, torch.float32),
        ("heatmap", (1, 1, 2, 2), (7, 6), (3, 3, 3), 40, (1, 1, 1), (1, 1, 1), 0.6, torch.float32),
        ("grayscale_sum", (1, 2, 1, 3), (9, 5), (1, 2, 4), 5, (1, 1, 3), (0, 0, 2), 0.6, torch.float16),
        ("limb", (1, 2, 1, 2), (3, 5), (1, 2, 2), 4, (1, 1, 2), (0, 1, 1), 0.6, torch.float32),
        ("heatmap", (2, 2, 2, 1), (1, 1), (1, 3, 3), 3, (2, 1, 1), (0, 1, 1), 0.6, torch.float32),
        ("heatmap", (1, 1, 1, 1), (3, 30), (1, 1, 3), 2, (1, 1, 1), (0, 0, 1), 3.0, torch.float32),
    ],
    ids=["SlowOnly", "X3D", "C3D", "grayscale", "limbs", "1x1", "windows of several steps"],
)  # fmt: skip
def test_stems(mode, shape, size, kernel, out_channels, stride, padding, sigma, dtype):
    assert_agrees(mode, shape, size, kernel, out_channels, stride, padding, sigma, dtype)


@few
@given(data=st.data())
def test_any_shape(data):
    shape = data.draw(st.tuples(*[st.integers(1, 2)] * 4), "persons")
    size = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)), "size")
    kernel = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3)), "kernel")
    stride = data.draw(st.tuples(*[st.integers(1, 3)] * 3), "stride")
    padding = tuple(
        data.draw(st.integers(max(0, (side - length + 1) // 2), side))
        for side, length in zip(kernel, (shape[2], *size), strict=True)
    )
    mode = data.draw(st.sampled_from(["heatmap", "grayscale_sum", "limb"]))
    seed = data.draw(st.integers(1, 99))
    assert_agrees(mode, shape, size, kernel, 3, stride, padding, 0.6, torch.float32, seed)


def test_of_equal_persons_the_first_has_the_gradient():
    pose, weight, _ = make_case("heatmap", (1, 1, 1, 2), (4, 5), (1, 2, 2), 3)
    settings = ((4, 5), 0.6, "heatmap", [], (1, 1, 1), (0, 1, 1))
    gradient = torch.randn(1, 3, 1, 5, 6, generator=torch.Generator().manual_seed(9))
    alone, found = (
        keypoint_kernels.keypoint_gradient(gradient, poses, weight, *settings)
        for poses in (pose, pose.repeat(1, 2, 1, 1, 1))
    )
    assert alone.count_nonzero() > 0
    assert torch.equal(found[:, :1], alone)
    assert found[:, 1:].count_nonzero() == 0


@pytest.mark.parametrize("shape", [(0, 1, 2, 3), (2, 0, 2, 3)], ids=str)
def test_empty_inputs(shape):
    keypoints = torch.zeros(*shape, 3)
    weight = torch.ones(5, channels_of("heatmap", 3), 1, 3, 3)
    settings = ((4, 5), 0.6, "heatmap", [], (1, 1, 1), (0, 1, 1))
    output = torch.full((shape[0], 5, 2, 4, 5), math.nan).to(memory_format=torch.channels_last_3d)
    kernels.convolve(keypoints, weight, output, *settings)
    assert output.count_nonzero() == 0
    found = weight_kernels.weight_gradient(output, keypoints, weight.shape, *settings)
    assert found.shape == weight.shape
    assert found.count_nonzero() == 0
    assert keypoint_kernels.keypoint_gradient(output, keypoints, weight, *settings).shape == keypoints.shape


def test_shares_depend_on_sizes_alone_and_hold_all_frames():
    for frames in (1, 4, 5, 1023, 1024, 1025, 6144, 100_000):
        shares, each = weight_kernels.share_of_frames(frames)
        assert (shares - 1) * each < frames <= shares * each
        assert shares <= weight_kernels.MAX_SHARES
