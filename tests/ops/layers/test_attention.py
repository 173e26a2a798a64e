"""Attention along an axis: the native code against its definition in float64, in value and gradient."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastpose.ops import attend
from fastpose.ops.layers.attention.reference import attend_reference

TOLERANCE = {torch.float32: 5e-6, torch.bfloat16: 4e-3}  # of the norm; bfloat16 rounds to 2^-9


def plain(qkv, num_heads, axis):
    """Written out with loops over heads, joints or frames left to einsum."""
    q, k, v = qkv.unflatten(-1, (3, num_heads, -1)).unbind(3)  # [N, T, J, h, d]
    scores, mix = {
        1: ("nsjhd,ntjhd->njhst", "njhst,ntjhd->nsjhd"),
        2: ("ntihd,ntjhd->nthij", "nthij,ntjhd->ntihd"),
    }[axis]
    weights = (torch.einsum(scores, q, k) / q.shape[-1] ** 0.5).softmax(-1)
    return torch.einsum(mix, weights, v).flatten(-2)


def value_and_gradient(function, qkv, gradient, num_heads, axis):
    qkv = qkv.detach().requires_grad_()
    output = function(qkv, num_heads, axis)
    return output.detach(), torch.autograd.grad(output, qkv, gradient.to(output.dtype))[0]


def relative_error(value, truth):
    return ((value.double() - truth).norm() / truth.norm()).item()


@given(
    clips=st.integers(1, 3),
    frames=st.sampled_from([1, 2, 7, 8, 9, 24, 33]),
    joints=st.sampled_from([1, 5, 13, 17, 25]),
    num_heads=st.integers(1, 3),
    dim=st.sampled_from([1, 4, 8, 12, 32, 40]),
    axis=st.sampled_from([1, 2]),
    dtype=st.sampled_from(list(TOLERANCE)),
    seed=st.integers(0, 2**16),
)
def test_native_against_the_definition(clips, frames, joints, num_heads, dim, axis, dtype, seed):
    random = torch.Generator().manual_seed(seed)
    qkv = (2 * torch.randn(clips, frames, joints, 3 * num_heads * dim, generator=random)).to(dtype)
    gradient = torch.randn(clips, frames, joints, num_heads * dim, generator=random).to(dtype)
    truth = value_and_gradient(plain, qkv.double(), gradient, num_heads, axis)
    found = value_and_gradient(
        lambda *arguments: attend(*arguments, backend="native"), qkv, gradient, num_heads, axis
    )
    for value, exact in zip(found, truth, strict=True):
        assert value.dtype == dtype
        assert relative_error(value, exact) < TOLERANCE[dtype]


@pytest.mark.parametrize("axis", [1, 2])
def test_reference_and_auto_in_float64(axis):
    torch.manual_seed(0)
    qkv = torch.randn(2, 5, 3, 24, dtype=torch.float64)
    expected = plain(qkv, 2, axis)
    for backend in ("auto", "reference"):
        torch.testing.assert_close(attend(qkv, 2, axis, backend), expected)


@pytest.mark.parametrize("axis", [1, 2])
def test_strided_tokens_large_scores_and_threads(axis):
    torch.manual_seed(0)
    qkv = 30 * torch.randn(3, 6, 48, 4).permute(0, 1, 3, 2)  # [N, T, J, 3·C], not contiguous
    gradient = torch.randn(3, 6, 4, 1).expand(-1, -1, -1, 16)
    exact = value_and_gradient(plain, qkv.double(), gradient, 2, axis)
    results = []
    threads = torch.get_num_threads()
    for count in (1, 3):
        torch.set_num_threads(count)
        results.append(value_and_gradient(attend, qkv, gradient, 2, axis))
    torch.set_num_threads(threads)
    for first, second, truth in zip(*results, exact, strict=True):
        assert torch.equal(first, second)
        assert relative_error(first, truth) < 1e-4


def test_long_sequences():
    torch.manual_seed(0)
    qkv = torch.randn(1, 513, 1, 12)
    torch.testing.assert_close(attend(qkv, 1, 1), plain(qkv, 1, 1))
    torch.testing.assert_close(attend(qkv[:, :512], 1, 1, "native"), plain(qkv[:, :512], 1, 1))
    with pytest.raises(ValueError, match="at most 512 tokens a sequence, got 513"):
        attend(qkv, 1, 1, backend="native")


@pytest.mark.parametrize("part", range(3))
def test_not_a_number_stays_one(part):
    qkv = torch.ones(1, 1, 3, 12)
    qkv[0, 0, 1, 4 * part] = float("nan")
    found, expected = attend(qkv, 1, 2), plain(qkv, 1, 2)
    assert torch.equal(found.isnan(), expected.isnan())


@pytest.mark.parametrize("axis", [1, 2])
def test_registration(axis):
    qkv = torch.randn(2, 3, 4, 24, requires_grad=True)
    torch.library.opcheck(torch.ops.fastpose.attend, (qkv, 2, axis))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_torch_func_uses_the_reference():
    qkv = torch.randn(3, 2, 3, 4, 24)
    together = torch.func.vmap(lambda x: attend(x, 2, 1))(qkv)
    torch.testing.assert_close(together, torch.stack([attend_reference(x, 2, 1) for x in qkv]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(2, 3, 24), 2, 1), r"qkv must be floating-point \[N, T, J, 3·C\].*\(2, 3, 24\)"),
        ((torch.zeros(2, 3, 4, 24, dtype=torch.int64), 2, 1), "got torch.int64"),
        ((torch.zeros(2, 3, 4, 24), 5, 1), "C a multiple of num_heads = 5"),
        ((torch.zeros(2, 0, 4, 24), 2, 1), r"got torch.float32 \(2, 0, 4, 24\)"),
        ((torch.zeros(2, 3, 4, 24), 0, 1), "num_heads must be a positive whole number, got 0"),
        ((torch.zeros(2, 3, 4, 24), 2, 3), r"axis must be 1 \(frames\) or 2 \(joints\), got 3"),
        ((torch.zeros(2, 3, 4, 24).double(), 2, 1, "native"), "'native' does not take torch.float64"),
        ((torch.zeros(2, 3, 4, 24), 2, 1, "triton"), "'triton' does not exist"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        attend(*arguments)
