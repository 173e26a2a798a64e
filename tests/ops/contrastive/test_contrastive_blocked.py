"""The blocked and the dense losses against the reference, and their place among torch's transforms."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from fastpose.ops import contrastive_loss, group_contrastive_loss, supervised_contrastive_loss
from fastpose.ops.contrastive import autograd, blocked, dense
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
    form=st.sampled_from(["dense", "kept blocks", "blocks"]),
)
def test_equals_the_reference(count, width, tau, kind, symmetric, reduction, detach, seed, block, form):
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

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocked, "BLOCK", block)
        if form != "dense":
            patch.setattr(dense, "MOST_PAIRS", 0)
        if form == "blocks":
            patch.setattr(autograd, "MOST_KEPT", 0)
        found = results(loss_of, "blocked", o, n, tau)
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
        assert (value - expected).abs().max() <= 2e-5 * expected.abs().max()


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


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("count", "form"), [(384, "_Dense"), (600, "_KeptBlocks"), (2049, "_Contrast")])
def test_form_by_count(monkeypatch, count, symmetric, form):
    """Each serves the counts that it is for, and they agree in float32 with the reference in float64."""
    called = []
    for name in ("_Dense", "_KeptBlocks", "_Contrast"):
        function = getattr(autograd, name)
        apply = function.apply
        monkeypatch.setattr(
            function, "apply", lambda *x, name=name, apply=apply: (called.append(name), apply(*x))[1]
        )
    o, n = rows(count, 8), rows(count, 8, 1)
    leaf = o.float().requires_grad_()
    loss = contrastive_loss(leaf, n.float(), 0.1, symmetric)
    loss.backward()
    assert called == [form]
    o.requires_grad_()
    expected = contrastive_loss(o, n, 0.1, symmetric, backend="reference")
    expected.backward()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    assert (leaf.grad - o.grad).abs().max() <= 1e-5 * o.grad.abs().max()


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e30])
def test_rows_of_any_length(scale):
    """Squares of their values may vanish or overflow; zeros have no gradient; what is not finite is named."""
    o, n = rows(5, 4), rows(5, 4, 1)
    o[2] = 0
    leaf = (o * scale).float().requires_grad_()
    contrastive_loss(leaf, n.float(), 0.2, True).backward()
    exact = (o * scale).requires_grad_()
    contrastive_loss(exact, n, 0.2, True, backend="reference").backward()
    torch.testing.assert_close(leaf.grad.double() * scale, exact.grad * scale, rtol=1e-4, atol=1e-6)
    o[3, 1] = float("inf")
    with pytest.raises(ValueError, match="n has a non-finite value in row 3"):
        contrastive_loss(n, o)
    with pytest.raises(ValueError, match="z has a non-finite value in row 3"):
        supervised_contrastive_loss(o, torch.zeros(5, dtype=torch.int64))


def test_memory_is_linear():
    """Of many rows neither direction allocates anything like N x N, but at most O(N D) or one block."""
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
