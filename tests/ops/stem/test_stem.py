"""The stem against its definition, drawn maps and torch's convolution, in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from support.stem import MODES, error, make_case, results
from torch.testing import assert_close

from fastpose.ops import pose_stem, render_heatmaps

pytestmark = pytest.mark.usefixtures("poisoned_memory")

TOLERANCE = {torch.float32: 5e-4, torch.bfloat16: 1e-2}
STEMS = {  # kernel, stride
    "SlowOnly": ((1, 7, 7), (1, 1, 1)),
    "X3D": ((1, 3, 3), (1, 2, 2)),
    "C3D": ((3, 3, 3), (1, 1, 1)),
}


def assert_as_good_as_the_reference(keypoints, weight, dtype, **arguments):
    truths = results(
        keypoints.double(), weight.double(), dtype, "reference", dtype=torch.float64, **arguments
    )
    natives = results(keypoints, weight, dtype, "native", dtype=dtype, **arguments)
    for name, native, truth in zip(("output", "keypoints", "weight"), natives, truths, strict=True):
        assert native.shape == truth.shape
        assert native.isfinite().all()
        limit = TOLERANCE[dtype] if name == "output" else 5e-4  # gradients are given in the dtype, and exact
        assert error(native, truth) <= limit, name
    assert natives[0].dtype == dtype
    assert natives[0].is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stem", STEMS)
def test_the_family(stem, mode, dtype):
    kernel, stride = STEMS[stem]
    keypoints, weight, arguments = make_case(mode, (2, 2, 4, 17), (56, 56), kernel, 32)
    assert_as_good_as_the_reference(keypoints, weight, dtype, stride=stride, **arguments)


@given(data=st.data())
def test_any_shape(data):
    shape = data.draw(st.tuples(*[st.integers(1, 3)] * 4), "persons")
    size = data.draw(
        st.one_of(st.sampled_from([(1, 1), (7, 7)]), st.tuples(st.integers(1, 33), st.integers(1, 33)))
    )
    kernel = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 8), st.integers(1, 8)), "kernel")
    stride = data.draw(st.tuples(*[st.integers(1, 3)] * 3), "stride")
    padding = tuple(
        data.draw(st.integers(max(0, (side - length + 1) // 2), side + 1))
        for side, length in zip(kernel, (shape[2], *size), strict=True)
    )
    mode = data.draw(st.sampled_from(list(MODES)))
    keypoints, weight, arguments = make_case(
        mode,
        shape,
        size,
        kernel,
        data.draw(st.sampled_from([1, 5, 16, 40])),
        data.draw(st.integers(0, 99)),
    )
    sigma = data.draw(st.sampled_from([0.2, 0.6, 1.3, 5.0]))
    dtype = data.draw(st.sampled_from(list(TOLERANCE)))
    assert_as_good_as_the_reference(
        keypoints, weight, dtype, stride=stride, padding=padding, sigma=sigma, **arguments
    )


@pytest.mark.parametrize("mode", MODES)
def test_the_reference_is_drawing_and_convolving(mode):
    keypoints, weight, arguments = make_case(mode, (2, 2, 3, 5), (9, 11), (2, 3, 4), 6)
    maps = render_heatmaps(keypoints, **arguments)
    expected = F.conv3d(maps, weight, None, (1, 2, 1), (1, 1, 2))
    found = pose_stem(keypoints, weight, stride=(1, 2, 1), backend="reference", **arguments)
    assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last_3d)


def test_the_reference_passes_gradcheck():
    keypoints = torch.tensor([[3.2, 4.1, 0.9], [4.7, 2.4, 0.6]]).reshape(1, 1, 1, 2, 3).repeat(1, 2, 2, 1, 1)
    keypoints[:, 1, ..., :2] += torch.tensor([0.37, -0.41])
    weight = make_case("heatmap", (1, 1, 1, 2), (7, 7), (2, 3, 3), 2)[1]
    inputs = keypoints.double().requires_grad_(), weight.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda k, w: pose_stem(k, w, (7, 8), stride=(1, 2, 1)), inputs)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_the_maximum_of_joints_is_drawn(backend):
    keypoints, weight, _ = make_case("grayscale_sum", (2, 2, 3, 5), (9, 11), (1, 3, 3), 6)
    arguments = {"size": (9, 11), "mode": "grayscale", "joint_merge": "max"}
    truths = results(keypoints.double(), weight.double(), torch.float32, "reference", **arguments)
    for found, truth in zip(
        results(keypoints, weight, torch.float32, backend, **arguments), truths, strict=True
    ):
        assert error(found, truth) <= 1e-5
    with pytest.raises(ValueError, match="backend='native' needs the drawn maps for joint_merge='max'"):
        pose_stem(keypoints, weight, backend="native", **arguments)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("value", [(math.nan, 3.0, 1.0), (3.0, math.inf, 1.0), (3.0, 3.0, 0.0), (3e38, 3.0, 1.0),
                                   (-40.0, 3.0, 1.0), (3.0, 3.0, -1.0)], ids=str)  # fmt: skip
def test_nothing_drawn_gives_zeros(backend, value):
    keypoints = torch.tensor(value).expand(2, 1, 3, 4, 3)
    weight = torch.ones(5, 4, 1, 3, 3)
    found = results(keypoints, weight, torch.float32, backend, size=(7, 7))
    assert found[0].shape == (2, 5, 3, 7, 7)
    assert all(tensor.count_nonzero() == 0 for tensor in found)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("shape", [(0, 1, 2, 3), (2, 0, 2, 3)], ids=str)
def test_empty_inputs(shape, backend):
    found = results(torch.zeros(*shape, 3), torch.ones(5, 3, 1, 3, 3), torch.float32, backend, size=(7, 7))
    assert found[0].shape == (shape[0], 5, 2, 7, 7)
    assert found[1].shape == (*shape, 3)
    assert found[2].shape == (5, 3, 1, 3, 3)
    assert all(tensor.count_nonzero() == 0 for tensor in found)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("mode", MODES)
def test_bits_do_not_depend_on_threads(mode, dtype):
    keypoints, weight, arguments = make_case(mode, (3, 2, 5, 6), (23, 17), (3, 3, 5), 24)
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(results(keypoints, weight, dtype, "native", dtype=dtype, **arguments))
    finally:
        torch.set_num_threads(1)
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


def test_a_bf16_result_is_the_float32_result_rounded_once():
    keypoints, weight, arguments = make_case("heatmap", (2, 2, 3, 17), (56, 56), (1, 7, 7), 32)
    full = pose_stem(keypoints, weight, backend="native", **arguments)
    rounded = pose_stem(keypoints, weight, dtype=torch.bfloat16, backend="native", **arguments)
    assert torch.equal(rounded, full.bfloat16())


def test_keypoints_weight_and_gradient_of_any_strides():
    keypoints, weight, arguments = make_case("heatmap", (2, 2, 3, 5), (9, 11), (3, 3, 3), 6)
    expected = results(keypoints, weight, torch.float32, "native", **arguments)
    scattered = keypoints.permute(4, 2, 0, 3, 1).contiguous().permute(2, 4, 1, 3, 0)
    last = weight.contiguous(memory_format=torch.channels_last_3d)
    found = results(scattered, last, torch.float32, "native", **arguments)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_persons_that_share_a_window_merge_by_maximum():
    pose = torch.tensor([4.0, 5.0, 0.5]).reshape(1, 1, 1, 1, 3)
    weight = torch.arange(9.0).reshape(1, 1, 1, 3, 3)
    for backend in ("native", "reference"):
        once = pose_stem(pose, weight, (9, 9), backend=backend)
        twice = pose_stem(pose.repeat(1, 3, 1, 1, 1), weight, (9, 9), backend=backend)
        assert_close(twice, once, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("mode", MODES)
def test_of_equal_persons_the_first_has_the_gradient(mode, backend):
    pose, weight, arguments = make_case(mode, (2, 1, 3, 5), (9, 11), (3, 3, 3), 6)
    output, pose_gradient, weight_gradient = results(pose, weight, torch.float32, backend, **arguments)
    assert pose_gradient.count_nonzero() > 0
    found = results(pose.repeat(1, 3, 1, 1, 1), weight, torch.float32, backend, **arguments)
    nothing = torch.zeros_like(pose_gradient)
    truths = output, torch.cat([pose_gradient, nothing, nothing], 1), weight_gradient
    for value, truth in zip(found, truths, strict=True):
        assert error(value, truth.double()) <= 1e-5
    assert found[1][:, 1:].count_nonzero() == 0
