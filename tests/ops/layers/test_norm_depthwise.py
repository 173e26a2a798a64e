"""Depthwise convolution of batch norm: against both operators in float64, whatever shape, format and threads."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastpose.ops.layers.norm_depthwise import batch_norm_depthwise

pytestmark = pytest.mark.usefixtures("poisoned_memory")

TOLERANCE = {torch.float32: 5e-4, torch.bfloat16: 2e-2}


def sample(shape, kernel, dtype=torch.float32, seed=0):
    """x, the weight and bias of the norm, and the convolution's weight."""
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(shape, generator=generator) * 2 + 0.5).to(dtype)
    channels = shape[1]
    norm = torch.rand(channels, generator=generator) + 0.5, torch.randn(channels, generator=generator)
    weight = torch.randn(channels, 1, *kernel, generator=generator)
    return x.contiguous(memory_format=torch.channels_last_3d), *norm, weight


def results(tensors, stride=1, relu=True, backend="native"):
    """Output, running statistics and the four gradients, for a seeded gradient of the output."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    mean, variance = torch.zeros_like(leaves[1]), torch.ones_like(leaves[1])
    y = batch_norm_depthwise(
        leaves[0],
        mean,
        variance,
        *leaves[1:],
        stride,
        True,
        0.2,
        relu=relu,
        backend=backend,
    )
    gradient = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    y.backward(gradient.to(y.dtype))
    return [y.detach(), mean, variance, *(leaf.grad for leaf in leaves)]


def error(value, truth):
    return float((value.double() - truth).norm() / truth.norm().clamp_min(1e-2))


@given(
    shape=st.tuples(*(st.integers(low, high) for low, high in ((2, 3), (1, 40), (1, 14), (1, 9), (1, 17)))),
    kernel=st.sampled_from([(3, 3, 3), (5, 1, 1), (1, 1, 1), (3, 5, 7)]),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3)),
    relu=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_any_shape(shape, kernel, stride, relu, dtype):
    batch, _, *volume = shape
    two_values = batch * math.prod(volume) == 2
    tensors = sample(shape, kernel, dtype)
    truths = results([t.double() for t in tensors], stride, relu, "reference")
    found = results(tensors, stride, relu)
    # Not against torch in bfloat16, whose gradient of depthwise weights can be memory that nobody wrote.
    for i, (native, truth) in enumerate(zip(found, truths, strict=True)):
        assert native.shape == truth.shape
        assert native.dtype == (dtype if i in (0, 3) else torch.float32)
        if i == 3 and two_values:
            continue  # the next two tests
        assert error(native, truth) <= TOLERANCE[dtype], i


@given(channels=st.integers(1, 40), relu=st.booleans(), seed=st.integers(0, 2**31))
def test_gradient_of_two_values_per_channel(channels, relu, seed):
    """They cancel but for what eps leaves; float32 resolves that no better in torch."""
    tensors = sample((2, channels, 1, 1, 1), (3, 3, 3), seed=seed)
    truth = results([t.double() for t in tensors], 1, relu, "reference")[3]
    in_torch = error(results(tensors, 1, relu, "reference")[3], truth)
    assert error(results(tensors, 1, relu)[3], truth) <= max(TOLERANCE[torch.float32], 2 * in_torch)


@given(channels=st.integers(1, 40), relu=st.booleans(), seed=st.integers(0, 2**31))
def test_gradient_of_two_values_per_channel_in_bfloat16(channels, relu, seed):
    """dx = s·eps/(var + eps)·(g − mean g): g rounded to bfloat16 before, to float32 where the rest cancels."""
    eps = 1e-5  # the default, which results() takes
    tensors = sample((2, channels, 1, 1, 1), (3, 3, 3), torch.bfloat16, seed)
    found = results(tensors, 1, relu)[3].double().view(2, channels)
    x, scale, shift, weight = (tensor.double() for tensor in tensors)
    x = x.view(2, channels)
    mean, var = x.mean(0), x.var(0, correction=0)
    s = scale / (var + eps).sqrt()
    g = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).bfloat16().double()
    g = g * weight[:, 0, 1, 1, 1] * ((x - mean) * s + shift > 0 if relu else 1)
    truth = s * eps / (var + eps) * (g - g.mean(0))
    bound = s * g.abs().mean(0) * (2**-8 * eps / (var + eps) + 2**-20)
    assert ((found - truth).abs() <= 3 * bound).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bits_do_not_depend_on_threads(dtype):
    tensors = sample((5, 44, 25, 9, 10), (3, 3, 3), dtype)
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(results(tensors, (1, 2, 2)))
    finally:
        torch.set_num_threads(1)
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


def test_known_statistics_give_the_same():
    x, scale, shift, weight = sample((3, 21, 5, 7, 9), (3, 3, 3))
    statistics = x.mean((0, 2, 3, 4)), x.var((0, 2, 3, 4), correction=0)
    found = []
    for known in (None, statistics):
        leaves = [tensor.clone().requires_grad_() for tensor in (x, scale, shift, weight)]
        running = torch.zeros(21), torch.ones(21)
        y = batch_norm_depthwise(
            leaves[0], *running, *leaves[1:], (1, 2, 2), statistics=known, backend="native"
        )
        found.append([y, *running, *torch.autograd.grad(y.square().sum(), leaves)])
    for value, expected in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)


def test_padding_is_zero_after_the_norm():
    x, scale, shift, weight = sample((2, 8, 1, 1, 1), (1, 3, 3))
    y = batch_norm_depthwise(x, None, None, scale, shift + 5, weight, backend="native")
    expected = torch.nn.functional.batch_norm(x, None, None, scale, shift + 5, True).relu()
    torch.testing.assert_close(y, expected * weight[:, 0, 0, 1, 1].view(-1, 1, 1, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("relu", [False, True])
def test_evaluation(dtype, relu):
    x, scale, shift, weight = sample((3, 21, 5, 7, 9), (3, 3, 3), dtype)
    mean, variance = shift.flip(0).clone(), scale.flip(0) + 1
    norm = mean, variance, scale, shift
    before = [tensor.clone() for tensor in norm]
    found = batch_norm_depthwise(x, *norm, weight, (1, 2, 2), training=False, relu=relu, backend="native")
    truth = batch_norm_depthwise(
        x.double(), *(t.double() for t in (*norm, weight)), (1, 2, 2), training=False, relu=relu
    )
    assert found.dtype == dtype
    assert error(found, truth) <= (1e-6 if dtype == torch.float32 else 2**-8)
    assert all(torch.equal(a, b) for a, b in zip(norm, before, strict=True))


def test_evaluation_with_gradients_and_float64_run_the_reference():
    tensors = sample((2, 3, 2, 3, 3), (3, 3, 1))
    doubles = [tensor.double().requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(
        lambda *leaves: batch_norm_depthwise(leaves[0], None, None, *leaves[1:]), doubles
    )
    mean, variance = torch.full((3,), 0.3), torch.full((3,), 2.0)
    tensors[3].requires_grad_()
    y = batch_norm_depthwise(tensors[0], mean, variance, *tensors[1:], training=False)
    assert y.requires_grad
    x = torch.nn.functional.batch_norm(tensors[0], mean, variance, *tensors[1:3]).relu()
    torch.testing.assert_close(y, torch.nn.functional.conv3d(x, tensors[3], padding=(1, 1, 0), groups=3))
    assert torch.equal(mean, torch.full((3,), 0.3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_asks_for_the_dtype_of_the_convolution(dtype):
    x, *parameters = sample((2, 8, 3, 4, 5), (3, 3, 3), dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found, defined = (
            batch_norm_depthwise(x, None, None, *parameters, backend=backend)
            for backend in ("auto", "reference")
        )
    assert found.dtype == defined.dtype == torch.bfloat16
    assert error(found, defined.double()) <= TOLERANCE[torch.bfloat16]


def test_operator_contract():
    tensors = sample((2, 5, 4, 6, 7), (3, 3, 3))
    torch.library.opcheck(
        torch.ops.fastpose.batch_norm_depthwise.default,
        (*(tensor.requires_grad_() for tensor in tensors), None, None, (1, 2, 1), True, 1e-5),
    )
    tensors = [tensor.detach() for tensor in tensors]
    torch.library.opcheck(
        torch.ops.fastpose.batch_norm_depthwise_evaluation.default,
        (*tensors, tensors[2], tensors[1], (1, 2, 1), True, 1e-5),
    )


def test_there_is_no_second_derivative():
    tensors = [tensor.requires_grad_() for tensor in sample((2, 8, 2, 3, 3), (3, 3, 3))]
    y = batch_norm_depthwise(tensors[0], None, None, *tensors[1:], backend="native")
    (dx,) = torch.autograd.grad(y.square().sum(), tensors[0], create_graph=True)
    with pytest.raises(RuntimeError, match="batch_norm_depthwise: no second derivative"):
        dx.sum().backward()


def test_wrong_arguments_are_named():
    x, scale, shift, weight = sample((2, 4, 3, 4, 5), (3, 3, 3))
    for arguments, message in (
        ((x, None, None, scale[:3], shift, weight), r"norm_weight must be \[4\]"),
        ((x, None, None, scale, shift.to("meta"), weight), "x is on cpu, but norm_bias on meta"),
        ((x, shift[:3], None, scale, shift, weight), r"running_mean must be \[4\]"),
        ((x, None, None, scale, shift, weight[:3]), r"weight must be \[4, 1, kt, kh, kw\]"),
        ((x[0], None, None, scale[:3], shift[:3], weight), "must be"),
        ((x, None, None, scale, shift, weight, 0), "stride must be"),
        ((x[:1, :, :1, :1, :1], None, None, scale, shift, weight), "more than one value per channel"),
    ):
        with pytest.raises(ValueError, match=f"batch_norm_depthwise: .*{message}"):
            batch_norm_depthwise(*arguments)
    with pytest.raises(ValueError, match="has no gradients in evaluation"):
        batch_norm_depthwise(
            x, shift, scale, scale, shift, weight.requires_grad_(), training=False, backend="native"
        )
    with pytest.raises(ValueError, match="needs running statistics in evaluation"):
        batch_norm_depthwise(x, shift, None, scale, shift, weight, training=False, backend="native")
