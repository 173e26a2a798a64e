"""Second derivatives of the native operators: refused, never left out."""

import contextlib

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from fastpose.ops import attend
from fastpose.ops.layers.batch_norm import batch_norm_relu
from fastpose.ops.layers.depthwise import depthwise_conv3d

X = torch.randn(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
SCALE = torch.full((3,), 1.5, requires_grad=True)
FILTERS = torch.linspace(-1, 1, 81).view(3, 1, 3, 3, 3).requires_grad_()


def attended(x, backend):
    return attend(x[0].repeat(1, 1, 1, 2), 2, 1, backend)


def normalised(x, backend):
    rows = x.contiguous(memory_format=torch.channels_last_3d)
    return batch_norm_relu(
        rows, None, None, SCALE, torch.zeros(3), True, residual=x.detach(), backend=backend
    )


def convolved(x, backend):
    return depthwise_conv3d(x, FILTERS, backend=backend)


SECONDS = {
    "backward": lambda loss, x: torch.autograd.grad(loss, x, create_graph=True)[0].square().sum().backward(),
    "penalty": lambda loss, x: torch.autograd.grad(
        torch.autograd.grad(loss, x, create_graph=True)[0].square().sum() + x.sum(), x
    ),
}


@pytest.mark.parametrize("second", SECONDS.values(), ids=SECONDS)
@pytest.mark.parametrize("op", [attended, normalised, convolved])
def test_a_second_derivative_is_an_error_that_says_who_has_one(op, second):
    x = X.clone().requires_grad_()
    with pytest.raises(RuntimeError, match=r": no second derivative; backend='reference' .*has one"):
        second(op(x, "native").sin().sum(), x)
    kernel = sdpa_kernel(SDPBackend.MATH) if op is attended else contextlib.nullcontext()
    with kernel:
        second(op(x, "reference").sin().sum(), x)


@pytest.mark.parametrize("op", [attended, normalised])
def test_a_penalty_on_the_gradient_of_a_plain_sum_is_refused(op):
    x = X.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="no second derivative"):
        SECONDS["penalty"](op(x, "native").sum(), x)


@pytest.mark.parametrize("op", [attended, normalised, convolved])
def test_function_transforms_take_the_reference(op):
    expected = torch.func.grad(lambda x: op(x, "reference").sin().sum())(X)
    torch.testing.assert_close(torch.func.grad(lambda x: op(x, "auto").sin().sum())(X), expected)
    with pytest.raises(ValueError, match=r"has no rules for torch.func"):
        torch.func.grad(lambda x: op(x, "native").sin().sum())(X)
