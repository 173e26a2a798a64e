"""Batch norm with sum and ReLU against float64 and torch's own module."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastpose.ops.layers.batch_norm import batch_norm_relu

pytestmark = pytest.mark.usefixtures("poisoned_memory")

TOLERANCE = {torch.float32: 5e-4, torch.bfloat16: 1e-2}
FORMATS = {2: torch.contiguous_format, 4: torch.channels_last, 5: torch.channels_last_3d}


def volume(shape, dtype=torch.float32, seed=0, shift=0.5):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + shift
    return x.to(dtype).contiguous(memory_format=FORMATS[len(shape)])


def affine(channels, seed=7):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(channels, generator=generator) + 0.5, torch.randn(channels, generator=generator)


def results(x, weight, bias, residual, relu, gradient, backend="native"):
    """y, running mean and variance, and the gradients of x, weight, bias and residual."""
    leaves = [t.detach().clone().requires_grad_() for t in (x, weight, bias, residual) if t is not None]
    mean, variance = torch.zeros_like(weight), torch.ones_like(weight)
    y = batch_norm_relu(
        leaves[0], mean, variance, leaves[1], leaves[2], True, 0.2, 1e-5,
        residual=leaves[3] if residual is not None else None, relu=relu, backend=backend,
    )  # fmt: skip
    y.backward(gradient.to(y.dtype))
    return [y.detach(), mean, variance, *(leaf.grad for leaf in leaves)]


def error(value, truth):
    return float((value.double() - truth).norm() / truth.norm().clamp_min(1e-30))


@given(
    shape=st.one_of(
        st.tuples(st.integers(30, 700), st.integers(1, 70)),
        st.tuples(
            st.integers(2, 5), st.integers(1, 230), st.integers(4, 9), st.integers(2, 5), st.integers(2, 5)
        ),
    ),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    with_residual=st.booleans(),
    relu=st.booleans(),
)
def test_any_shape(shape, dtype, with_residual, relu):
    x, gradient = volume(shape, dtype), volume(shape, dtype, 1, 0.1)
    residual = volume(shape, dtype, 2) if with_residual else None
    weight, bias = affine(shape[1])
    double = [None if t is None else t.double() for t in (x, weight, bias, residual)]
    truths = results(*double, relu, gradient.double(), "reference")
    references = results(x, weight, bias, residual, relu, gradient, "reference")
    natives = results(x, weight, bias, residual, relu, gradient, "native")
    names = ("y", "running_mean", "running_var", "dx", "dweight", "dbias", "dresidual")
    for name, native, reference, truth in zip(names, natives, references, truths, strict=False):
        assert native.dtype == reference.dtype
        assert native.ndim == 1 or native.is_contiguous(memory_format=FORMATS[native.ndim])
        assert error(native, truth) <= error(reference, truth) + TOLERANCE[dtype], name


@pytest.mark.parametrize(("channels", "dtype"), [(27, torch.float32), (36, torch.bfloat16)])
def test_arrays_too_large_for_the_caches(channels, dtype):
    rows = (17 << 20) // (channels * dtype.itemsize) + 3  # written round the caches from 16 MB
    x, gradient, residual = (volume((rows, channels), dtype, seed) for seed in range(3))
    weight, bias = affine(channels)
    double = [t.double() for t in (x, weight, bias, residual)]
    truths = results(*double, True, gradient.double(), "reference")
    natives = results(x, weight, bias, residual, True, gradient, "native")
    for native, truth in zip(natives, truths, strict=True):
        assert error(native, truth) < TOLERANCE[dtype]


@pytest.mark.parametrize("view", [lambda t: t[::2], lambda t: t[:1].expand(5)], ids=["strided", "expanded"])
def test_parameters_need_not_be_dense(view):
    x, gradient = volume((9, 5)), volume((9, 5), seed=1)
    weight, bias = (view(tensor) for tensor in affine(10))
    leaves = [tensor.detach().requires_grad_() for tensor in (x, weight, bias)]
    y = batch_norm_relu(leaves[0], None, None, *leaves[1:], True, backend="native")
    y.backward(gradient)
    dense = results(x, weight.contiguous(), bias.contiguous(), None, True, gradient)
    for found, expected in zip((y, *(leaf.grad for leaf in leaves)), (dense[0], *dense[3:]), strict=True):
        assert torch.equal(found, expected)


def test_small_spread_round_a_large_mean():
    x = volume((4096, 20), shift=0) * 0.01 + 1000
    y = batch_norm_relu(x, None, None, torch.ones(20), torch.zeros(20), True, relu=False, backend="native")
    expected = (x.double() - x.double().mean(0)) / (x.double().var(0, unbiased=False) + 1e-5).sqrt()
    assert error(y, expected) < 1e-2  # float32 holds 1000 + 0.01·z to 1 part in 300 of z
    assert abs(float(y.double().mean())) < 1e-2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bits_do_not_depend_on_threads(dtype):
    x, residual, gradient = (volume((3, 54, 8, 20, 20), dtype, seed) for seed in range(3))
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(results(x, *affine(54), residual, True, gradient, "native"))
    finally:
        torch.set_num_threads(1)
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


def test_not_a_number_reaches_the_output():
    x = volume((64, 24))
    x[3, 5] = torch.nan
    y = batch_norm_relu(x, None, None, *affine(24), True, backend="native")
    assert y[:, 5].isnan().all()
    assert y[:, :5].isfinite().all()
    assert y[:, 6:].isfinite().all()


def test_equals_the_module_over_two_steps_and_in_evaluation():
    module = torch.nn.BatchNorm3d(24)
    mean, variance = module.running_mean.clone(), module.running_var.clone()
    for seed in range(2):
        x = volume((2, 24, 3, 4, 4), seed=seed)
        expected = module(x).relu()
        found = batch_norm_relu(x, mean, variance, module.weight, module.bias, True, backend="native")
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mean, module.running_mean)
    torch.testing.assert_close(variance, module.running_var)
    module.eval()
    found = batch_norm_relu(x, mean, variance, module.weight, module.bias, False)
    torch.testing.assert_close(found, module(x).relu(), rtol=1e-5, atol=1e-5)


@given(
    shape=st.tuples(*(st.integers(1, high) for high in (3, 70, 5, 4, 4))),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    with_residual=st.booleans(),
    relu=st.booleans(),
)
def test_evaluation(shape, dtype, with_residual, relu):
    x = volume(shape, dtype)
    residual = volume(shape, dtype, 2) if with_residual else None
    variance, mean = affine(shape[1], seed=8)
    parameters = [mean, variance, *affine(shape[1])]
    before = [tensor.clone() for tensor in parameters]
    found = batch_norm_relu(x, *parameters, False, residual=residual, relu=relu, backend="native")
    assert found.dtype == dtype
    assert all(torch.equal(a, b) for a, b in zip(parameters, before, strict=True))
    x, residual = x.double(), residual.double() if with_residual else None
    truth = batch_norm_relu(
        x, *(t.double() for t in parameters), False, residual=residual, relu=relu, backend="reference"
    )
    torch.testing.assert_close(
        found.double(), truth, rtol=1e-5 if dtype == torch.float32 else 2**-8, atol=1e-5
    )


def test_evaluation_with_gradients_runs_the_reference():
    weight, bias = affine(5)
    x = volume((2, 5, 3, 4, 4)).requires_grad_()
    statistics = torch.full((5,), 0.3), torch.full((5,), 2.0)
    norms = batch_norm_relu, lambda *arguments: torch.nn.functional.batch_norm(*arguments).relu()
    found, expected = (
        torch.autograd.grad(norm(x, *statistics, weight, bias, False).square().sum(), x)[0] for norm in norms
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("with_residual", [False, True])
def test_known_statistics_give_the_same(with_residual):
    x, gradient = volume((3, 21, 4, 5, 6)), volume((3, 21, 4, 5, 6), seed=1)
    residual = volume((3, 21, 4, 5, 6), seed=2) if with_residual else None
    statistics = x.mean((0, 2, 3, 4)), x.var((0, 2, 3, 4), correction=0)
    found = []
    for known in (None, statistics):
        leaves = [t.clone().requires_grad_() for t in (x, *affine(21), residual) if t is not None]
        running = torch.zeros(21), torch.ones(21)
        y = batch_norm_relu(
            leaves[0], *running, *leaves[1:3], True, 0.2, 1e-5, residual=leaves[3] if with_residual else None,
            statistics=known, backend="native",
        )  # fmt: skip
        found.append([y, *running, *torch.autograd.grad(y, leaves, gradient)])
    for value, expected in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


def test_operator_contract():
    x, residual = volume((2, 5, 3, 4, 4)), volume((2, 5, 3, 4, 4), seed=1)
    weight, bias = affine(5)
    for arguments in (
        (
            x.clone().requires_grad_(),
            residual.clone().requires_grad_(),
            weight.requires_grad_(),
            bias,
            None,
            None,
            True,
            1e-5,
        ),
        (x.bfloat16(), None, weight, bias.requires_grad_(), None, None, False, 1e-3),
        (x, residual, weight, bias, *affine(5, seed=8)[::-1], True, 1e-5),
    ):
        torch.library.opcheck(torch.ops.fastpose.batch_norm_relu.default, arguments)
    variance, mean = affine(5, seed=8)
    torch.library.opcheck(
        torch.ops.fastpose.batch_norm_relu_evaluation.default,
        (x, residual, weight.detach(), bias.detach(), mean, variance, True, 1e-5),
    )


def test_compiles_to_one_graph_for_several_sizes():
    weight, bias = affine(24)
    compiled = torch.compile(
        lambda x, residual: batch_norm_relu(
            x, None, None, weight, bias, True, residual=residual, backend="native"
        ),
        backend="aot_eager", fullgraph=True, dynamic=True,
    )  # fmt: skip
    for shape in ((2, 24, 3, 4, 4), (3, 24, 5, 6, 4)):
        x, residual = volume(shape), volume(shape, seed=1)
        expected = batch_norm_relu(x, None, None, weight, bias, True, residual=residual, backend="native")
        assert torch.equal(compiled(x, residual), expected)


def test_wrong_arguments_are_named():
    x, (weight, bias) = volume((8, 24)), affine(24)
    norm = {"running_mean": None, "running_var": None, "weight": weight, "bias": bias, "training": True}
    for changes, message in (
        ({"x": x[:0]}, "not empty"),
        ({"x": x[:1]}, "more than one value"),
        ({"weight": weight[:3]}, r"weight must be \[24\]"),
        ({"running_mean": bias[:3]}, r"running_mean must be \[24\]"),
        ({"weight": weight.int()}, r"weight must be \[24\] and floating, got torch.int32 \(24,\)"),
        ({"bias": bias.to("meta")}, "x is on cpu, but bias on meta"),
        ({"running_var": weight.to("meta")}, "x is on cpu, but running_var on meta"),
        ({"residual": 1.0}, r"residual must be torch.float32 \(8, 24\), got float"),
        ({"residual": x.to("meta")}, "x is on cpu, but residual on meta"),
        ({"residual": x[:4]}, "residual must be"),
        ({"residual": x.bfloat16()}, "residual must be"),
        ({"training": False, "backend": "native"}, "needs running statistics in evaluation"),
        (
            {
                "training": False,
                "running_mean": bias,
                "running_var": weight,
                "weight": weight.clone().requires_grad_(),
                "backend": "native",
            },
            "has no gradients in evaluation",
        ),
        ({"x": x.t().contiguous().t(), "backend": "native"}, "innermost"),
        ({"x": x.half(), "backend": "native"}, "does not take torch.float16"),
    ):
        with pytest.raises(ValueError, match=message):
            batch_norm_relu(**{"x": x, **norm, **changes})
