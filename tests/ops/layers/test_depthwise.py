"""The depthwise convolution against float64, whatever the shape, the strides in memory and the threads."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from fastpose.ops.layers.depthwise import depthwise_conv3d
from fastpose.ops.layers.depthwise.reference import depthwise_conv3d_reference

pytestmark = pytest.mark.usefixtures("poisoned_memory")

TOLERANCE = {torch.float32: 5e-4, torch.bfloat16: 1e-2}
KERNELS = [(3, 3, 3), (5, 1, 1), (1, 3, 3), (3, 5, 1), (1, 1, 1), (7, 7, 7)]


def sample(shape, kernel, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator).to(dtype)
    return x, torch.randn((shape[1], 1, *kernel), generator=generator)


def results(function, x, weight, stride, gradient=None):
    """Output and both gradients, for a seeded gradient of the output."""
    x, weight = x.detach().clone().requires_grad_(), weight.detach().clone().requires_grad_()
    y = function(x, weight, stride)
    if gradient is None:
        gradient = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    y.backward(gradient.to(y.dtype))
    return y.detach(), x.grad, weight.grad


def error(value, truth):
    return float((value.double() - truth).norm() / truth.norm().clamp_min(1e-30))


def assert_as_good_as_the_reference(x, weight, stride):
    y = depthwise_conv3d_reference(x.double(), weight.double(), stride)
    gradient = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(x.dtype)
    truths = results(depthwise_conv3d_reference, x.double(), weight.double(), stride, gradient)
    references = results(depthwise_conv3d_reference, x, weight, stride, gradient)
    natives = results(lambda *a: depthwise_conv3d(*a, backend="native"), x, weight, stride, gradient)
    for name, native, reference, truth in zip(
        ("y", "dx", "dweight"), natives, references, truths, strict=True
    ):
        assert native.shape == truth.shape
        assert native.dtype == reference.dtype
        assert error(native, truth) <= error(reference, truth) + TOLERANCE[x.dtype], name


@given(
    shape=st.tuples(*(st.integers(1, most) for most in (3, 70, 27, 12, 31))),
    kernel=st.sampled_from(KERNELS),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3)),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_any_shape(shape, kernel, stride, dtype):
    assert_as_good_as_the_reference(*sample(shape, kernel, dtype), stride)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_several_strips_of_rows(dtype):
    assert_as_good_as_the_reference(*sample((1, 123, 13, 40, 41), (3, 3, 3), dtype), (1, 2, 2))


def test_other_orders_in_memory():
    x, weight = sample((4, 20, 6, 7, 9), (3, 3, 3))
    expected = results(depthwise_conv3d, x, weight, 1)
    views = [x.permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0), F.pad(x, (1, 2))[..., 1:-2]]
    for view in views:
        y = depthwise_conv3d(view, weight)
        assert y.is_contiguous(memory_format=torch.channels_last_3d)
        assert torch.equal(y, expected[0])
    gradient = torch.randn(expected[0].shape).permute(0, 2, 3, 4, 1).contiguous().permute(0, 4, 1, 2, 3)
    same = (
        results(depthwise_conv3d, x, weight, 1, gradient),
        results(depthwise_conv3d, x, weight, 1, gradient.contiguous()),
    )
    assert all(torch.equal(a, b) for a, b in zip(*same, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bits_do_not_depend_on_threads(dtype):
    x, weight = sample((5, 40, 25, 9, 10), (3, 3, 3), dtype)
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(results(depthwise_conv3d, x, weight, (1, 2, 2)))
    finally:
        torch.set_num_threads(1)
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


def test_infinity_and_nan_stay_where_they_are_seen():
    x, weight = sample((1, 16, 3, 6, 6), (1, 3, 3), torch.bfloat16)
    x[0, 2, 1, 3, 3], x[0, 5, 1, 0, 0] = torch.nan, torch.inf
    y = depthwise_conv3d(x, weight.abs() + 0.1)
    assert y[0, 2, 1, 2:5, 2:5].isnan().all()
    assert y[0, 5, 1, :2, :2].isinf().all()
    assert y.isfinite().sum() == y.numel() - 9 - 4


def test_autocast_lowers_the_volume_and_not_the_weight():
    x, weight = sample((2, 24, 4, 5, 5), (5, 1, 1))
    weight.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = depthwise_conv3d(x, weight)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, depthwise_conv3d(x.bfloat16(), weight))
    y.float().sum().backward()
    assert weight.grad.dtype == torch.float32


def test_operator_contract():
    x, weight = sample((2, 5, 4, 6, 7), (3, 3, 3))
    for arguments in (
        (x.requires_grad_(), weight.requires_grad_(), (1, 2, 1)),
        (x.detach().bfloat16().contiguous(memory_format=torch.channels_last_3d), weight, (1, 1, 1)),
    ):
        torch.library.opcheck(torch.ops.fastpose.depthwise_conv3d.default, arguments)


def test_compiles_to_one_graph_for_several_sizes():
    compiled = torch.compile(
        lambda x, weight: depthwise_conv3d(x, weight, (1, 2, 2)).relu(), backend="aot_eager",
        fullgraph=True, dynamic=True,
    )  # fmt: skip
    for shape in ((2, 24, 5, 8, 8), (3, 24, 7, 9, 6)):
        x, weight = sample(shape, (3, 3, 3))
        expected = results(lambda *a: depthwise_conv3d(*a).relu(), x, weight, (1, 2, 2))
        found = results(lambda x, weight, _: compiled(x, weight), x, weight, None)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_float64_runs_the_reference_and_has_its_gradients():
    x, weight = sample((1, 2, 3, 4, 3), (3, 3, 1))
    inputs = x.double().requires_grad_(), weight.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: depthwise_conv3d(x, w, (1, 2, 1)), inputs)


def test_wrong_arguments_are_named():
    x, weight = sample((1, 4, 3, 4, 5), (3, 3, 3))
    for arguments, message in (
        ((x[0], weight), "five dimensions"),
        ((x, weight, 1.5), "stride must be one or three integers from 1 to 16777216, got 1.5"),
        ((x, weight, (1, 1)), "stride must be"),
        ((x, weight, 2**62), "stride must be"),
        ((x, weight[:3]), r"weight must be \[4, 1, kt, kh, kw\]"),
        ((x, weight[..., :2]), "odd sides"),
        ((x[:0], weight), "not be empty"),
        ((x, weight, 0), "stride must be"),
        ((x, weight, (1, 2)), "stride must be"),
        ((x.half(), weight, 1, "native"), "does not take torch.float16"),
        ((x, weight, 1, "triton"), "does not exist"),
    ):
        with pytest.raises(ValueError, match=message):
            depthwise_conv3d(*arguments)
