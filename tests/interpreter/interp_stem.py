"""The stem's kernels in Triton's interpreter against the reference. Run with TRITON_INTERPRET=1."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.effort import few
from support.stem import MODES, channels_of, error, limbs_of, make_case, results

from fastpose.ops import pose_stem
from fastpose.ops.stem import kernels_forward as kernels
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


def convolved(keypoints, weight, size, kernel_settings, dtype, sigma=0.6, mode="heatmap"):
    """(what the kernel writes, the truth)."""
    stride, padding = kernel_settings
    arguments = {
        "size": size,
        "sigma": sigma,
        "mode": MODES[mode],
        "limbs": limbs_of(mode, keypoints.shape[3]),
    }
    arguments |= {"stride": stride, "padding": padding}
    truth = pose_stem(keypoints.double(), weight.double(), backend="reference", **arguments)
    output = torch.full_like(truth, math.nan, dtype=dtype, memory_format=torch.channels_last_3d)
    limbs = flat(arguments["limbs"])
    kernels.convolve(keypoints, weight, output, size, sigma, mode, limbs, stride, padding)
    return output, truth


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.float16, 5e-4)], ids=str)
def test_operands_of_11_bits_cost_little(dtype, limit):
    """Both operands of a 16-bit result and itself are rounded by up to 2^-11; operands in two parts are float32."""
    keypoints, weight, _ = make_case("heatmap", (1, 2, 1, 4), (14, 17), (1, 7, 7), 32)
    found, truth = convolved(keypoints, weight, (14, 17), ((1, 1, 1), (0, 3, 3)), dtype)
    assert error(found, truth) <= limit


@pytest.mark.parametrize("persons", [2, 3, 5])
def test_persons_whose_windows_meet(persons):
    """A joint of one is apart in the first frame, one of another not drawn in the second; five have no own entries."""
    generator = torch.Generator().manual_seed(persons)
    keypoints = torch.rand(1, persons, 2, 2, 3, generator=generator) * 3 + 4
    keypoints[..., 2] = torch.rand(1, persons, 2, 2, generator=generator) + 0.1
    keypoints[:, -1, 0, 1, :2] += torch.tensor([16.0, 9.0])
    keypoints[:, 0, 1, 0, 1] = math.nan
    weight = torch.randn(4, 2, 1, 5, 5, generator=generator)
    found, truth = convolved(keypoints, weight, (20, 24), ((1, 1, 1), (0, 2, 2)), torch.float32)
    assert error(found, truth) <= 1e-6


@pytest.mark.parametrize(
    ("mode", "size", "kernel", "stride", "padding"),
    [
        ("heatmap", (70, 5), (1, 3, 3), (1, 1, 1), (0, 1, 1)),
        ("limb", (20, 5), (1, 3, 3), (1, 2, 1), (1, 1, 1)),
        ("grayscale_sum", (18, 6), (2, 3, 3), (1, 1, 2), (1, 1, 1)),
        ("heatmap", (5, 17), (1, 9, 10), (1, 1, 1), (0, 4, 5)),
        ("heatmap", (6, 40), (1, 2, 18), (1, 1, 2), (0, 1, 9)),
    ],
    ids=[
        "blocks of strips",
        "frames of padding",
        "kernel of frames",
        "kernel beyond registers",
        "wide kernel",
    ],
)
def test_shapes_of_the_convolution(mode, size, kernel, stride, padding):
    keypoints, weight, _ = make_case(mode, (1, 2, 1, 3), size, kernel, 3)
    found, truth = convolved(keypoints, weight, size, (stride, padding), torch.float32, mode=mode)
    assert error(found, truth) <= 2e-6


def test_the_largest_score_is_finite():
    keypoints = torch.tensor([3.0, 3.0, torch.finfo(torch.float32).max]).reshape(1, 1, 1, 1, 3)
    weight = torch.full((1, 1, 1, 1, 1), 0.5)
    found, truth = convolved(keypoints, weight, (7, 7), ((1, 1, 1), (0, 0, 0)), torch.float32)
    assert error(found, truth) <= 1e-6


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
