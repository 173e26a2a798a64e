"""The blocked losses against the reference, and their place among torch's transforms."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from fastpose.ops import contrastive_loss, group_contrastive_loss, supervised_contrastive_loss
from fastpose.ops.contrastive import blocked
from fastpose.ops.contrastive.reference import class_means
from fastpose.ops.contrastive.state import State

TAU = 0.3


def rows(count, width, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator, dtype=torch.float64).to(dtype)


def results(loss_of, backend, o, n, tau):
    """Loss and gradients of o, n and the temperature."""
    leaves = [value.clone().requires_grad_() for value in (o, n, torch.tensor(tau, dtype=o.dtype))]
    loss = loss_of(*leaves, backend)
    weight = torch.arange(1.0, loss.numel() + 1, dtype=loss.dtype).reshape(loss.shape)
    (loss * weight).sum().backward()
    return loss.detach(), *(leaf.grad for leaf in leaves)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocked, "BLOCK", 4)


@given(
    count=st.integers(1, 13),
    width=st.sampled_from([1, 3, 8]),
    tau=st.sampled_from([0.001, 0.02, 0.5]),
    kind=st.sampled_from(["instance", "group", "supervised"]),
    symmetric=st.booleans(),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    detach=st.booleans(),
    seed=st.integers(0, 99),
    block=st.sampled_from([1, 4, 512]),
)
def test_equals_the_reference(count, width, tau, kind, symmetric, reduction, detach, seed, block):
    o, n = rows(count, width, seed), rows(count, width, seed + 1)
    o[seed % count] = 0
    n[-1] = n[0]
    labels, labels_n = torch.randint(4, (2, count), generator=torch.Generator().manual_seed(seed))

    def loss_of(o, n, tau, backend):
        if kind == "instance":
            return contrastive_loss(o, n, tau, symmetric, detach, reduction, backend)
        if kind == "group":
            return group_contrastive_loss(o, n, labels, 6, labels_n, tau, symmetric, detach, backend)
        return supervised_contrastive_loss(o + n, labels, tau, reduction, backend)

    before, blocked.BLOCK = blocked.BLOCK, block
    try:
        found = results(loss_of, "blocked", o, n, tau)
    finally:
        blocked.BLOCK = before
    for value, expected in zip(found, results(loss_of, "reference", o, n, tau), strict=True):
        if expected is None:
            assert value is None
        else:
            torch.testing.assert_close(value, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("tau", [0.02, 0.022, 0.024, 1.0])
def test_float32_on_both_sides_of_the_fixed_bound(tau):
    o = rows(60, 16)
    n = -o + 0.01 * rows(60, 16, 1)  # far from their positives

    def loss_of(o, n, tau, backend):
        return contrastive_loss(o, n, tau, True, backend=backend)

    truth = results(loss_of, "reference", o, n, tau)
    for value, expected in zip(results(loss_of, "blocked", o.float(), n.float(), tau), truth, strict=True):
        assert (value - expected).abs().max() <= 1e-5 * expected.abs().max()


ROWS = st.lists(
    st.sampled_from([(0, 0, 0), (1, 0, 0), (-1, 0, 0), (-5, 0, 0), (1, 1 / 64, 0), (-1, 0, 1 / 64), (2, -1, 3)]),
    min_size=4, max_size=4,
)  # fmt: skip
CLASSES = st.lists(st.integers(0, 2), min_size=4, max_size=4)
OPPOSITE = {
    "clean": [(1, 0, 0)] * 4,
    "noisy": [(-1, 0, 0)] * 4,
    "classes": [0, 1, 1, 1],
    "noisy_classes": [0, 2, 2, 2],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["instance", "group", "supervised"])
@given(
    clean=ROWS, noisy=ROWS, classes=CLASSES, noisy_classes=CLASSES,
    count=st.integers(1, 4), width=st.integers(1, 3), tau=st.sampled_from([1e-3, 0.0112, 0.0228, 0.0232, 0.3]),
    symmetric=st.booleans(), detach=st.booleans(), factor=st.sampled_from([1.0, 2.0**16]),
)  # fmt: skip
@example(**OPPOSITE, count=1, width=3, tau=0.0112, symmetric=False, detach=False, factor=1.0)
@example(**OPPOSITE, count=4, width=1, tau=1e-3, symmetric=True, detach=False, factor=1.0)
@example(**OPPOSITE, count=3, width=1, tau=0.0112, symmetric=False, detach=True, factor=1.0)
@example(**OPPOSITE, count=1, width=3, tau=0.0232, symmetric=True, detach=False, factor=2.0**16)
def test_extremes(
    kind, dtype, clean, noisy, classes, noisy_classes, count, width, tau, symmetric, detach, factor
):
    """Equal and opposite rows, rows of zeros, lone rows, classes of one view, gradients scaled as for float16."""
    o, n = (torch.tensor(view, dtype=dtype)[:count, :width] for view in (clean, noisy))
    labels, labels_n = torch.tensor(classes)[:count], torch.tensor(noisy_classes)[:count]
    tau = torch.tensor(tau, dtype=dtype).item()

    def loss_of(o, n, tau, backend):
        if kind == "instance":
            loss = contrastive_loss(o, n, tau, symmetric, detach, backend=backend)
        elif kind == "group":
            loss = group_contrastive_loss(o, n, labels, 4, labels_n, tau, symmetric, detach, backend=backend)
        else:
            loss = supervised_contrastive_loss(torch.cat([o, n]), labels.repeat(2), tau, backend=backend)
        return loss * factor

    truth = results(loss_of, "reference", o.double(), n.double(), tau)
    views = [o, n] if kind != "group" else [class_means(x, y, 4)[0] for x, y in ((o, labels), (n, labels_n))]
    lengths = torch.cat(views).double().norm(dim=1)
    slope = 2 / tau / lengths[lengths > 0].min().item() if lengths.any() else 0  # no gradient is longer
    # A cosine off by one rounding changes its logit by eps / tau, and gradients by as much of the longest one.
    error = 16 * torch.finfo(dtype).eps / tau * factor
    found = results(loss_of, "blocked", o, n, tau)
    for value, expected, largest in zip(found, truth, (1 / tau, slope, slope, 2 / tau**2), strict=True):
        if detach and expected is None:
            assert value is None
        else:
            torch.testing.assert_close(value.double(), expected, rtol=0, atol=error * largest)


@pytest.mark.parametrize("symmetric", [False, True])
def test_gradcheck(small_blocks, symmetric):
    o, n, tau = (x.requires_grad_() for x in (rows(6, 3), rows(6, 3, 1), torch.tensor(TAU).double()))
    labels = torch.tensor([0, 1, 0, 2, 1, 0])
    assert torch.autograd.gradcheck(lambda *x: contrastive_loss(*x, symmetric, reduction="none"), (o, n, tau))
    assert torch.autograd.gradcheck(
        lambda *x: group_contrastive_loss(*x[:2], labels, 4, temperature=x[2], symmetric=symmetric),
        (o, n, tau),
    )
    assert torch.autograd.gradcheck(
        lambda *x: supervised_contrastive_loss(x[0], labels, x[1], "none"), (o, tau)
    )


def test_absent_classes():
    o, n = rows(200, 8), rows(200, 8, 1)
    labels = torch.arange(200) % 55  # 65 of 120 classes have no row
    found, expected = (
        results(lambda o, n, t, b: group_contrastive_loss(o, n, labels, 120, None, t, True, backend=b), b, o, n, 0.1)
        for b in ("blocked", "reference")
    )  # fmt: skip
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_memory_is_linear():
    """Neither direction allocates anything like N x N: the largest tensor torch sees is O(N D) or one block."""
    count, width = 3000, 4
    o, n = rows(count, width, dtype=torch.float32).requires_grad_(), rows(count, width, 1, torch.float32)
    sizes = []

    class Recorder(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            sizes.extend(x.numel() for x in result if isinstance(x, torch.Tensor)) if isinstance(
                result, (tuple, list)
            ) else sizes.append(getattr(result, "numel", int)())
            return result

    with Recorder():
        loss = contrastive_loss(o, n, TAU, True)
    assert loss.isfinite()
    state = State(torch.cat([o.detach(), n]), *(torch.ones(2 * count) for _ in range(3)), torch.ones(()))
    with Recorder():
        blocked.blocked_backward(torch.ones(()), True, None, TAU, state, True)
    assert max(sizes) <= max(blocked.BLOCK**2, 2 * count * width)


def test_second_derivative_is_refused():
    o, n = rows(4, 3).requires_grad_(), rows(4, 3, 1)
    (gradient,) = torch.autograd.grad(contrastive_loss(o, n), o, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        gradient.sum().backward()
    (gradient,) = torch.autograd.grad(contrastive_loss(o, n, backend="reference"), o, create_graph=True)
    gradient.sum().backward()


def test_transforms():
    o, n = rows(4, 3), rows(4, 3, 1)
    leaf = o.clone().requires_grad_()
    contrastive_loss(leaf, n).backward()
    torch.testing.assert_close(torch.func.grad(contrastive_loss)(o, n), leaf.grad)
    labels = torch.arange(4) % 2
    for loss in (
        contrastive_loss,
        lambda o, n: group_contrastive_loss(o, n, labels, 2),
        lambda o, n: supervised_contrastive_loss(torch.cat([o, n]), labels.repeat(2)),
    ):
        for batched in (torch.func.vmap(loss), torch.func.vmap(torch.func.grad(loss))):
            with pytest.raises(NotImplementedError, match=r"[oz] is batched by torch\.func\.vmap"):
                batched(o[None], n[None])
        with pytest.raises(RuntimeError, match="jvp|forward"):
            torch.func.jvp(loss, (o, n), (o, n))
        for second in (torch.func.hessian, torch.func.jacfwd, torch.func.jacrev):
            with pytest.raises(RuntimeError, match="_Contrast"):
                second(loss)(o, n)
        with pytest.raises(RuntimeError, match="no second derivative"):
            torch.autograd.functional.hessian(loss, (o, n))
    exact = torch.func.hessian(lambda o: contrastive_loss(o, n, backend="reference"))(o)
    assert exact.count_nonzero() > 0


def test_opcheck():
    o, n = (x.requires_grad_() for x in (rows(5, 3), rows(5, 3, 1)))
    labels, tau = torch.tensor([0, 0, 1, 2, 1]), torch.tensor(TAU).double()
    counts = torch.tensor([[1, 0, 2, 1, 1], [1, 1, 1, 1, 1]]).double()
    utils = ("test_schema", "test_faketensor")
    for x, y, y_labels, y_counts, y_tau in (
        (o, n, None, None, None), (o, n, None, counts, tau), (o, None, labels, None, tau),
    ):  # fmt: skip
        for reduction in ("mean", "none"):
            arguments = (x, y, y_labels, y_counts, y_tau, TAU, y is not None, reduction, "fp32", "blocked")
            torch.library.opcheck(torch.ops.fastpose.contrast, arguments, test_utils=utils)
            with torch.no_grad():
                loss, *saved = torch.ops.fastpose.contrast(*arguments)
            torch.library.opcheck(
                torch.ops.fastpose.contrast_backward,
                (torch.ones_like(loss), x.detach(), None if y is None else y.detach(), y_labels, y_tau, TAU,
                 *saved, y is not None, "fp32", "blocked", True, y is not None, y_tau is not None),
                test_utils=utils,
            )  # fmt: skip


def test_compiles_whole_for_any_count():
    def objective(o, n, labels, tau):
        hidden, noisy = torch.tanh(o), torch.tanh(n)
        loss = contrastive_loss(hidden, noisy, tau) + group_contrastive_loss(hidden, noisy, labels, 3)
        return loss + supervised_contrastive_loss(hidden, labels)

    compiled = torch.compile(objective, fullgraph=True, dynamic=True, backend="aot_eager")
    for count in (6, 9):
        leaves = [x.requires_grad_() for x in (rows(count, 4), rows(count, 4, 1), torch.tensor(TAU).double())]
        o, n, tau = leaves
        labels = torch.arange(count) % 3
        found, expected = (step(o, n, labels, tau) for step in (compiled, objective))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        gradients = [torch.autograd.grad(loss, leaves) for loss in (found, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_autocast_reaches_neither_direction():
    o, n = rows(40, 16, dtype=torch.float32).requires_grad_(), rows(40, 16, 1, torch.float32)
    contrastive_loss(o, n, 0.05).backward()
    expected, o.grad = o.grad, None
    with torch.autocast("cpu", torch.bfloat16):
        contrastive_loss(o, n, 0.05).backward()
    assert torch.equal(o.grad, expected)


def test_equal_bits():
    o, n = rows(700, 16, dtype=torch.float32).requires_grad_(), rows(700, 16, 1, torch.float32)
    gradients = [torch.autograd.grad(contrastive_loss(o, n, 0.1, True), o)[0] for _ in range(2)]
    assert torch.equal(*gradients)
