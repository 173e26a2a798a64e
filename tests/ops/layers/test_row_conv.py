"""Convolutions that normalise what they read, and find statistics of what they write, against float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastpose.ops.layers.row_conv import norm_conv3d, norm_conv3d_evaluation

pytestmark = pytest.mark.usefixtures("poisoned_memory")

KERNELS = [(1, 1, 1), (3, 1, 1), (1, 3, 3), (3, 3, 3), (1, 7, 7)]
STRIDES = [(1, 1, 1), (1, 2, 2), (2, 1, 1), (2, 2, 3)]
NAMES = [
    "y",
    "mean",
    "variance",
    "dx",
    "dweight",
    "dnorm mean",
    "dnorm variance",
    "dnorm weight",
    "dnorm bias",
]


def sample(shape, out_channels, kernel, seed=0):
    """x, the norm of it, and weight."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator) + 0.3
    channels = shape[1]
    norm = [torch.randn(channels, generator=generator) * 0.3, torch.rand(channels, generator=generator) + 0.5]
    norm += [torch.rand(channels, generator=generator) + 0.5, torch.randn(channels, generator=generator)]
    weight = torch.randn(out_channels, channels, *kernel, generator=generator) / weight_scale(
        channels, kernel
    )
    return x.contiguous(memory_format=torch.channels_last_3d), norm, weight


def weight_scale(channels, kernel):
    return (channels * kernel[0] * kernel[1] * kernel[2]) ** 0.5


def results(x, norm, weight, stride, relu=True, backend="native"):
    """What ``norm_conv3d`` returns, and the gradients of its arguments for random gradients of all of that."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in (x, weight, *(norm or ()))]
    outputs = norm_conv3d(leaves[0], tuple(leaves[2:]) or None, leaves[1], stride, relu=relu, backend=backend)
    generator = torch.Generator().manual_seed(1)
    gradients = [torch.randn(y.shape, generator=generator).to(y.dtype) for y in outputs]
    return [*(y.detach() for y in outputs), *torch.autograd.grad(outputs, leaves, gradients)]


def error(value, truth):
    return float((value.double() - truth).norm() / truth.norm().clamp_min(1e-30))


def double(norm):
    return None if norm is None else [tensor.double() for tensor in norm]


@given(
    shape=st.tuples(
        st.integers(1, 4), st.integers(1, 70), st.integers(1, 9), st.integers(1, 15), st.integers(1, 15)
    ),
    out_channels=st.integers(1, 70),
    kernel=st.sampled_from(KERNELS),
    stride=st.sampled_from(STRIDES),
    with_norm=st.booleans(),
    relu=st.booleans(),
)
def test_any_shape(shape, out_channels, kernel, stride, with_norm, relu):
    x, norm, weight = sample(shape, out_channels, kernel)
    norm = norm if with_norm else None
    truths = results(x.double(), double(norm), weight.double(), stride, relu, "reference")
    natives = results(x, norm, weight, stride, relu)
    references = results(x, norm, weight, stride, relu, "reference")
    for name, native, reference, truth in zip(NAMES, natives, references, truths, strict=False):
        assert native.shape == truth.shape
        assert error(native, truth) <= max(1e-5, 4 * error(reference, truth)), name
    assert natives[0].is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("kernel", [(1, 1, 1), (3, 1, 1), (1, 3, 3)])
def test_layers_of_the_networks(kernel):
    """Rows in many blocks, channels in several panels."""
    x, norm, weight = sample((3, 132, 13, 14, 14), 150, kernel)
    truths = results(x.double(), double(norm), weight.double(), 1, True, "reference")
    for name, native, truth in zip(NAMES, results(x, norm, weight, 1), truths, strict=True):
        assert error(native, truth) <= 2e-6, name


def test_variance_of_values_far_from_zero():
    x, _, weight = sample((2, 8, 8, 8, 8), 5, (1, 1, 1))
    x = (x + 3000).contiguous(memory_format=torch.channels_last_3d)
    y, mean, variance = norm_conv3d(x, None, weight, backend="native")
    torch.testing.assert_close(mean.double(), y.double().mean((0, 2, 3, 4)), rtol=1e-6, atol=0)
    torch.testing.assert_close(
        variance.double(), y.double().var((0, 2, 3, 4), correction=0), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("with_residual", [False, True])
def test_evaluation(stride, relu, with_residual):
    x, norm, weight = sample((2, 20, 5, 7, 6), 20, (1, 3, 3))
    y = norm_conv3d(x.double(), None, weight.double(), stride, backend="reference")[0]
    residual = (
        torch.randn(y.shape).contiguous(memory_format=torch.channels_last_3d) if with_residual else None
    )
    mean, variance, scale, shift = (part[:, None, None, None].double() for part in norm)
    truth = (y - mean) / (variance + 1e-3).sqrt() * scale + shift
    truth = truth + residual.double() if residual is not None else truth
    truth = truth.relu() if relu else truth
    found = norm_conv3d_evaluation(x, weight, stride, tuple(norm), 1e-3, relu=relu, residual=residual)
    assert error(found, truth) <= 1e-6


def test_bits_do_not_depend_on_threads():
    x, norm, weight = sample((5, 44, 12, 9, 10), 33, (3, 1, 1))
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(results(x, norm, weight, (2, 1, 1)))
    finally:
        torch.set_num_threads(1)
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


def test_non_finite_values_stay():
    x, norm, weight = sample((1, 8, 3, 4, 4), 6, (1, 1, 1))
    x[0, 3, 1, 2, 2] = torch.nan
    y, mean, _ = norm_conv3d(x, tuple(norm), weight, backend="native")
    assert y[0, :, 1, 2, 2].isnan().all()
    assert int(y.isnan().sum()) == 6
    assert mean.isnan().all()


def test_a_second_derivative_is_an_error_that_names_the_way_out():
    x, norm, weight = sample((1, 3, 2, 3, 3), 2, (1, 1, 1))
    y = norm_conv3d(x.requires_grad_(), tuple(norm), weight, backend="native")[0]
    (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="norm_conv3d: no second derivative; backend='reference' has one"):
        dx.sum().backward()


def test_operator_contract():
    x, norm, weight = sample((2, 5, 3, 4, 4), 6, (1, 3, 3))
    for parts in (norm, [None] * 4):
        torch.library.opcheck(
            torch.ops.fastpose.norm_conv3d.default,
            (x.clone().requires_grad_(), *parts, weight.requires_grad_(), (1, 2, 1), True, 1e-5),
        )
    torch.library.opcheck(
        torch.ops.fastpose.norm_conv3d_evaluation.default,
        (x, weight.detach(), (1, 1, 1), torch.rand(6), torch.rand(6), None, True),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.zeros(4, 2, 1, 1, 1)}, r"weight must be \[C', 3, kt, kh, kw\] with odd sides"),
        ({"weight": torch.zeros(4, 3, 2, 1, 1)}, "odd sides"),
        ({"stride": (1, 0, 1)}, "stride"),
        ({"norm": (torch.zeros(2),) * 4}, r"norm's mean must be \[3\] and floating"),
        ({"x": torch.zeros(0, 3, 1, 1, 1)}, "x must not be empty"),
        ({"x": torch.zeros(1, 3, 1, 1, 1).double()}, "does not take torch.float64"),
    ],
)
def test_wrong_arguments(change, message):
    arguments = {"x": torch.zeros(1, 3, 1, 1, 1), "norm": None, "weight": torch.zeros(4, 3, 1, 1, 1)} | change
    with pytest.raises(ValueError, match=message):
        norm_conv3d(**arguments, backend="native")  # pyright: ignore[reportArgumentType]
