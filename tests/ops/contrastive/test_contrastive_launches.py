"""How many kernels the contrastive losses launch, torch's own among them."""

import pytest
import torch
from support.needs import NO_TRITON

pytest.importorskip("triton", reason=NO_TRITON)

from fastpose.ops import contrastive_loss, group_contrastive_loss, supervised_contrastive_loss
from fastpose.ops.contrastive import class_means as class_means_op
from fastpose.ops.contrastive import fused, op
from fastpose.ops.launch import ceil_div

ALLOCATIONS = ("empty", "empty_like", "empty_strided", "new_empty")
VIEWS = (  # and what is one where nothing is to do
    "view",
    "detach",
    "as_strided",
    "alias",
    "t",
    "transpose",
    "expand",
    "select",
    "slice",
    "unsqueeze",
    "to",
)
NO_WORK = {f"aten::{name}" for name in (*ALLOCATIONS, *VIEWS)}


@pytest.fixture
def launched(monkeypatch):
    """Names of the kernels, which are not run."""
    names = []
    for module in (fused, class_means_op):
        monkeypatch.setattr(module, "launch", lambda kernel, *args, **meta: names.append(kernel.fn.__name__))
    monkeypatch.setattr(op, "interpreting", lambda: True)  # tensors on the CPU may pass
    return names


def torch_kernels(step) -> list[str]:
    """What torch itself computes: of its own operators those that are more than a view or an allocation."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step()
    names = [event.name for event in profile.events()]
    return [name for name in names if name.startswith("aten::") and name not in NO_WORK]


@pytest.mark.parametrize("count", [32, 512])
@pytest.mark.parametrize("width", [128, 512, 2048])
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize(
    ("loss_of", "forward", "backward"),
    [
        (lambda o, n, y, tau: contrastive_loss(o, n, tau, backend="triton"), 2, 2),
        (lambda o, n, y, tau: contrastive_loss(o, n, tau, True, backend="triton"), 2, 2),
        (lambda o, n, y, tau: supervised_contrastive_loss(o, y, tau, backend="triton"), 2, 2),
        (lambda o, n, y, tau: group_contrastive_loss(o, n, y, 120, None, tau, backend="triton"), 3, 3),
        (lambda o, n, y, tau: group_contrastive_loss(o, n, y, 60, None, tau, True, True, "triton"), 3, 3),
    ],
    ids=["instance", "symmetric", "supervised", "group", "group of a detached view"],
)
def test_few_launches(launched, count, width, learned, loss_of, forward, backward):
    o, n = (torch.ones(count, width, requires_grad=True) for _ in range(2))
    tau = torch.tensor(0.5, requires_grad=True) if learned else 0.5
    loss = loss_of(o, n, torch.arange(count) % 7, tau)
    assert len(launched) == forward
    launched.clear()
    gradient = torch.ones(())
    assert not torch_kernels(lambda: loss.backward(gradient))
    assert len(launched) == backward


def test_panels_take_two_launches_each(launched):
    o, n = (torch.ones(1200, 1024, requires_grad=True) for _ in range(2))
    contrastive_loss(o, n, 0.5, True, backend="triton").backward()
    panels = ceil_div(2400, 128)  # taking the host for four processors: one for each block of columns
    assert launched[2:] == ["weights_kernel", "product_kernel"] * panels + ["rows_grad_kernel"]
