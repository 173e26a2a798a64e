"""Convolutions and linear layers in whole numbers: what is rounded, and by how much."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from fastpose.ops.layers.int8_conv import Int8Weights, int8_conv3d, int8_linear

pytestmark = pytest.mark.usefixtures("poisoned_memory")

KERNELS = [(1, 1, 1), (3, 1, 1), (1, 3, 3), (3, 3, 3)]
STRIDES = [(1, 1, 1), (1, 2, 2), (2, 1, 1), (2, 2, 3)]


def sample(shape, out_channels, kernel=(1, 1, 1), seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator) + 0.3
    return x, torch.randn(out_channels, shape[1], *kernel, generator=generator)


@given(
    shape=st.tuples(
        st.integers(1, 4), st.integers(1, 70), st.integers(1, 9), st.integers(1, 15), st.integers(1, 15)
    ),
    out_channels=st.integers(1, 70),
    kernel=st.sampled_from(KERNELS),
    stride=st.sampled_from(STRIDES),
    positive=st.booleans(),
    finished=st.booleans(),
)
def test_error_is_half_a_step_of_each_number(shape, out_channels, kernel, stride, positive, finished):
    x, weight = sample(shape, out_channels, kernel)
    x = x.relu() if positive else x
    scale, shift = sample((2, out_channels), 1)[0]
    weights = Int8Weights.of(weight, scale, shift)
    padding = [side // 2 for side in kernel]
    exact = F.conv3d(x.double(), weight.double(), None, stride, padding)
    residual = torch.randn(exact.shape, generator=torch.Generator().manual_seed(1)) if finished else None
    y = int8_conv3d(x, weights, stride, residual=residual, relu=finished)
    truth = exact * scale[:, None, None, None] + shift[:, None, None, None]
    if finished:
        truth = (truth + residual).relu()
    # |xw - x'w'| ≤ |x - x'|·|w'| + |x|·|w - w'|, each half a step at most
    step = (x.amax(1, keepdim=True).clamp_min(0) - x.amin(1, keepdim=True).clamp_max(0)) / 255
    whole = weights.whole().double().abs()
    weight_step = weight.abs().amax((1, 2, 3, 4), keepdim=True).double() / 127
    bound = F.conv3d((step / 2).double().expand_as(x), whole * weight_step, None, stride, padding)
    bound += F.conv3d(x.double().abs(), (weight_step / 2).expand_as(whole), None, stride, padding)
    bound = bound * scale.abs()[:, None, None, None] + 1e-5 * (1 + truth.abs())
    assert y.shape == truth.shape
    assert (y - truth).abs().le(bound).all()
    assert y.is_contiguous(memory_format=torch.channels_last_3d)


@given(
    shape=st.tuples(
        st.integers(1, 3), st.integers(1, 40), st.integers(1, 6), st.integers(1, 9), st.integers(1, 9)
    ),
    out_channels=st.integers(1, 40),
    kernel=st.sampled_from(KERNELS),
    stride=st.sampled_from(STRIDES),
)
def test_native_is_the_reference(shape, out_channels, kernel, stride):
    x, weight = sample(shape, out_channels, kernel)
    weights = Int8Weights.of(weight)
    native = int8_conv3d(x, weights, stride, backend="native")
    reference = int8_conv3d(x, weights, stride, backend="reference")
    # a number between two levels may be rounded to either
    step = x.abs().amax() * 2 / 255 * weight.abs().amax()
    assert (native - reference).abs().amax() <= 2 * step + 1e-5
    assert (native - reference).abs().mean() <= 1e-3 * reference.abs().mean() + 1e-5


def test_whole_numbers_of_weights():
    weight = torch.tensor([[1.27, -0.5, 0.011], [0, 0, 0], [-2.54, 2.53, 0.02]])
    weights = Int8Weights.of(weight, shift=torch.tensor([1.0, 2, 3]))
    assert weights.whole()[..., 0, 0, 0].tolist() == [
        [127, -50, 1],
        [0, 0, 0],
        [-127, 126, 1],
    ]  # 126.5 to even
    assert weights.scale.tolist() == pytest.approx([0.01, 1, 0.02])
    assert weights.sums[0, 0, :4].tolist() == [78, 0, 0, 0]
    assert int8_linear(torch.zeros(2, 3), weights).tolist() == [[1, 2, 3]] * 2


@pytest.mark.parametrize("shape", [(5,), (7, 5), (2, 3, 4, 5), (0, 5)])
def test_linear_maps_the_last_axis(shape):
    x, weight = torch.randn(shape), torch.randn(40, 5)
    y = int8_linear(x, Int8Weights.of(weight))
    assert y.shape == (*shape[:-1], 40)
    torch.testing.assert_close(y, F.linear(x, weight), atol=0.2, rtol=0)
    rows = int8_linear(x.reshape(-1, 5), Int8Weights.of(weight), backend="reference")
    torch.testing.assert_close(y.reshape(-1, 40), rows)


def test_the_default_dtype_does_not_count():
    x, weight = sample((1, 5, 2, 3, 3), 4)
    weights, rows = Int8Weights.of(weight), x[0, :, 0, 0].T
    expected, of_rows = int8_conv3d(x, weights), int8_linear(rows, weights)
    torch.set_default_dtype(torch.float64)
    try:
        found = int8_conv3d(x, weights), int8_linear(rows, weights)
    finally:
        torch.set_default_dtype(torch.float32)
    for result, truth in zip(found, (expected, of_rows), strict=True):
        assert result.dtype == torch.float32
        assert torch.equal(result, truth)


def test_a_clip_does_not_depend_on_its_batch():
    x, weight = sample((6, 20, 4, 5, 5), 33, (3, 3, 3))
    weights = Int8Weights.of(weight)
    together = int8_conv3d(x, weights)
    assert all(
        torch.equal(int8_conv3d(clip[None], weights)[0], of_it)
        for clip, of_it in zip(x, together, strict=True)
    )


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_stays_none(value, backend):
    x, weight = sample((1, 11, 1, 1, 4), 3)
    x[0, 6, 0, 0, 2] = value
    y = int8_conv3d(x, Int8Weights.of(weight), backend=backend)
    assert y.isnan().all(1).flatten().tolist() == [False, False, True, False]
    weight[1, 4] = value
    assert int8_conv3d(x[..., :2], Int8Weights.of(weight), backend=backend)[0, 1].isfinite().sum() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"x": torch.zeros(1, 4, 1, 1, 1)},
            r"x must be float32 \[B, 3, T, H, W\] and not empty, got torch.float32 \(1, 4",
        ),
        ({"x": torch.zeros(1, 3, 1, 1, 1, dtype=torch.float64)}, "x must be float32"),
        ({"x": torch.zeros(0, 3, 1, 1, 1)}, "not empty"),
        ({"stride": 0}, "stride must be"),
        ({"residual": torch.zeros(1, 2, 1, 1, 2)}, r"residual must be float32 \(1, 2, 1, 1, 1\), got"),
        (
            {"x": torch.zeros(1, 3, 1, 1, 1, requires_grad=True)},
            r"has no gradients: call it under torch.inference_mode\(\)",
        ),
        ({"backend": "triton"}, "does not exist"),
    ],
)
def test_wrong_arguments(change, message):
    arguments = {"x": torch.zeros(1, 3, 1, 1, 1), "weights": Int8Weights.of(torch.ones(2, 3)), **change}
    with pytest.raises(ValueError, match=message):
        int8_conv3d(**arguments)


def test_wrong_rows():
    with pytest.raises(ValueError, match=r"x must be float32 \[..., 3\], got torch.float32 \(2, 4\)"):
        int8_linear(torch.zeros(2, 4), Int8Weights.of(torch.ones(2, 3)))
    with pytest.raises(ValueError, match="at most 65536 channels can be summed, got 65537"):
        Int8Weights.of(torch.ones(1, 65537))
