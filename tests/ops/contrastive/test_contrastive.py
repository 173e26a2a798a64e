"""Contrastive losses against float64 truth, by hand, at their edges, and on bad input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.shared import shared_folder

from fastpose.ops import contrastive_loss, group_contrastive_loss, supervised_contrastive_loss

KINDS = ("one", "sym", "group_one", "group_sym")
TOLERANCE = {torch.float64: 1e-9, torch.float32: 5e-4}


@pytest.fixture(scope="module")
def oracle():
    with np.load(shared_folder() / "oracles" / "contrastive.npz", allow_pickle=False) as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


def rows(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def leaves(*tensors):
    return [tensor.clone().requires_grad_() for tensor in tensors]


def assert_close(value, truth, tolerance):
    """Within ``tolerance`` of the largest magnitude, or of 1e-3 where all is nearly zero."""
    scale = max(truth.abs().max().item(), 1e-3)
    assert (value.double() - truth).abs().max().item() <= tolerance * scale


@pytest.mark.parametrize("backend", ["blocked", "reference"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", range(4))
def test_oracle(oracle, case, kind, dtype, backend):
    get = {name: oracle[f"{case}/{name}"] for name in ("o", "n", "y", "tau", "C")}
    o, n, temperature = leaves(get["o"].to(dtype), get["n"].to(dtype), get["tau"].to(dtype))
    symmetric = kind.endswith("sym")
    if kind.startswith("group"):
        loss = group_contrastive_loss(
            o, n, get["y"], get["C"].item(), temperature=temperature, symmetric=symmetric, backend=backend
        )
    else:
        loss = contrastive_loss(o, n, temperature, symmetric, backend=backend)
    loss.backward()
    assert loss.dtype == dtype
    for name, value in {"loss": loss, "do": o.grad, "dn": n.grad, "dtau": temperature.grad}.items():
        assert_close(value.detach(), oracle[f"{case}/{kind}/{name}"], TOLERANCE[dtype])


def test_two_clips_by_hand():
    o = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    n = torch.tensor([[1.0, 0.0], [4.0, 0.0]])
    e = math.e
    # anchor o_0: cos 1 to n_0, 1 to n_1, 0 to o_1; anchor o_1: cos 0 to n_0, n_1 and o_0
    expected = torch.tensor([-math.log(e / (2 * e + 1)), -math.log(1 / 3)])
    torch.testing.assert_close(contrastive_loss(o, n, reduction="none"), expected)
    torch.testing.assert_close(contrastive_loss(o, n), expected.mean())
    torch.testing.assert_close(contrastive_loss(o, n, reduction="sum"), expected.sum())
    # anchor n_0: cos 1 to o_0 and n_1, 0 to o_1; anchor n_1: 0 to o_1, 1 to o_0 and n_0
    backward = torch.tensor([-math.log(e / (2 * e + 1)), -math.log(1 / (1 + 2 * e))])
    both = (expected + backward) / 2
    torch.testing.assert_close(contrastive_loss(o, n, symmetric=True, reduction="none"), both)
    torch.testing.assert_close(contrastive_loss(o, n, symmetric=True), both.mean())


def test_group_means_by_hand():
    o = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    n = torch.tensor([[0.0, 2.0], [1.0, 0.0], [1.0, 1.0], [1.0, -1.0]])
    labels, labels_n = torch.tensor([0, 0, 2, 3]), torch.tensor([2, 0, 1, 2])
    # classes in both views: 0 and 2; means o_0 = (2, 0), o_2 = (0, 1), n_0 = (1, 0), n_2 = (0.5, 0.5)
    loss = group_contrastive_loss(o, n, labels, 5, labels_n)
    expected = contrastive_loss(
        torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    )
    torch.testing.assert_close(loss, expected)


def test_supervised_by_hand():
    z = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    labels = torch.tensor([7, 7, -1])
    pull = -math.log(math.e / (math.e + 1))  # its positive at cos 1, the other row at cos 0
    losses = supervised_contrastive_loss(z, labels, temperature=1.0, reduction="none")
    torch.testing.assert_close(losses, torch.tensor([pull, pull, 0.0]))
    torch.testing.assert_close(supervised_contrastive_loss(z, labels, 1.0), torch.tensor(pull))
    torch.testing.assert_close(
        supervised_contrastive_loss(z, labels, 1.0, reduction="sum"), torch.tensor(2 * pull)
    )


def test_supervised_gradient_is_the_closed_form():
    z, labels, scale = rows(9, 4), torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2]), 1 / 0.3
    unit = (z / z.norm(dim=1, keepdim=True)).requires_grad_()
    supervised_contrastive_loss(unit, labels, 0.3).backward()
    with torch.no_grad():
        others = ~torch.eye(9, dtype=torch.bool)
        same = ((labels[:, None] == labels) & others).double()
        weight = (unit @ unit.T * scale).exp() * others
        weight = weight / weight.sum(1, keepdim=True)
        size = same.sum(1)
        pull = same * (1 / size[:, None] + 1 / size[None, :])
        gradient = scale / 9 * ((weight + weight.T - pull) @ unit)
        gradient -= (gradient * unit).sum(1, keepdim=True) * unit  # through the normalisation
    torch.testing.assert_close(unit.grad, gradient, rtol=1e-10, atol=1e-12)


def test_gradcheck():
    o, n = leaves(rows(4, 3), rows(4, 3, seed=1))
    tau = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    labels, labels_n = torch.tensor([0, 0, 1, 2]), torch.tensor([1, 0, 2, 2])
    for symmetric in (False, True):
        assert torch.autograd.gradcheck(
            lambda o, n, t, s=symmetric: contrastive_loss(o, n, t, s, reduction="none"), (o, n, tau)
        )
        assert torch.autograd.gradcheck(
            lambda o, n, t, s=symmetric: group_contrastive_loss(o, n, labels, 3, labels_n, t, s), (o, n, tau)
        )
    assert torch.autograd.gradcheck(lambda z, t: supervised_contrastive_loss(z, labels, t), (o, tau))


@given(
    count=st.integers(1, 9),
    width=st.integers(1, 5),
    temperature=st.floats(0.02, 5),
    seed=st.integers(0, 2**16),
    symmetric=st.booleans(),
)
def test_order_and_length_of_rows_do_not_matter(count, width, temperature, seed, symmetric):
    o, n = rows(count, width, seed=seed), rows(count, width, seed=seed + 1)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=generator)
    length = torch.rand(count, 1, generator=generator, dtype=torch.float64) + 0.1
    losses = contrastive_loss(o, n, temperature, symmetric, reduction="none")
    moved = contrastive_loss((o * length)[order], n[order], temperature, symmetric, reduction="none")
    torch.testing.assert_close(moved, losses[order], rtol=1e-9, atol=1e-9)
    assert (losses >= -1e-12).all()
    labels = torch.arange(count)  # one clip per class: the group loss is the instance loss
    group = group_contrastive_loss(o, n, labels, count + 2, temperature=temperature, symmetric=symmetric)
    torch.testing.assert_close(group, losses.mean())


@given(count=st.integers(2, 9), classes=st.integers(1, 4), seed=st.integers(0, 2**16))
def test_supervised_equals_a_loop(count, classes, seed):
    z = rows(count, 3, seed=seed)
    labels = torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))
    cosine = torch.nn.functional.cosine_similarity(z[:, None], z[None], dim=2) / 0.2
    losses = []
    for c in range(count):
        others = [b for b in range(count) if b != c]
        positives = [p for p in others if labels[p] == labels[c]]
        total = torch.logsumexp(cosine[c, others], 0)
        losses += [sum(total - cosine[c, p] for p in positives) / len(positives)] if positives else []
    expected = sum(losses) / len(losses) if losses else torch.zeros((), dtype=torch.float64)
    torch.testing.assert_close(supervised_contrastive_loss(z, labels, 0.2), expected)


@pytest.mark.parametrize("symmetric", [False, True])
def test_one_clip_has_no_loss(symmetric):
    o, n = leaves(rows(1, 4), rows(1, 4, seed=1))
    loss = contrastive_loss(o, n, 0.1, symmetric)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert max(o.grad.abs().max(), n.grad.abs().max()) < 1e-12


def test_no_shared_class_no_positive():
    o, n, tau = leaves(rows(3, 4), rows(3, 4, seed=1), torch.tensor(0.5, dtype=torch.float64))
    loss = group_contrastive_loss(o, n, torch.tensor([0, 0, 1]), 4, torch.tensor([2, 3, 2]), tau)
    loss = loss + supervised_contrastive_loss(o, torch.tensor([0, 1, 2]), tau)
    loss.backward()
    assert loss.item() == 0
    for leaf in (o, n, tau):
        assert torch.count_nonzero(leaf.grad) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("temperature", [1.0, 0.05, 0.005])
def test_duplicate_rows_at_low_temperature(dtype, temperature):
    o = rows(1, 8, dtype=dtype).expand(6, 8).contiguous().requires_grad_()
    loss = contrastive_loss(o, o.detach().clone(), temperature)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(11), rel=1e-5)  # 11 keys at cosine 1
    assert o.grad.abs().max() < 1e-3


@pytest.mark.parametrize("scale", [0.0, 1e-42, 1e-30, 1e30])
def test_rows_of_any_length(scale):
    o, n = leaves(rows(4, 3, dtype=torch.float32), rows(4, 3, seed=1, dtype=torch.float32))
    with torch.no_grad():
        o[1] *= scale
    labels = torch.tensor([0, 1, 1, 0])
    loss = (
        contrastive_loss(o, n)
        + contrastive_loss(o, n, symmetric=True)
        + group_contrastive_loss(o, n, torch.arange(4), 4)
        + supervised_contrastive_loss(o, labels)
    )
    loss.backward()
    assert loss.isfinite()
    assert o.grad.isfinite().all()
    assert (torch.count_nonzero(o.grad[1]) == 0) == (scale < 1e-38)
    if scale >= 1e-30:  # the loss does not see the length
        unit = o.detach().clone()
        unit[1] /= scale
        torch.testing.assert_close(contrastive_loss(o, n), contrastive_loss(unit, n))


def test_detach_clean():
    for loss_of in (
        lambda o, n, detach: contrastive_loss(o, n, detach_clean=detach),
        lambda o, n, detach: group_contrastive_loss(o, n, torch.tensor([0, 0, 1]), 2, detach_clean=detach),
    ):
        o, n = leaves(rows(3, 4), rows(3, 4, seed=1))
        whole = loss_of(o, n, False)
        whole.backward()
        expected = n.grad.clone()
        o.grad = n.grad = None
        loss = loss_of(o, n, True)
        loss.backward()
        assert torch.equal(loss, whole)
        assert o.grad is None
        torch.testing.assert_close(n.grad, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_computes_in_float32(dtype):
    o, n = leaves(rows(6, 5, dtype=dtype), rows(6, 5, seed=1, dtype=dtype))
    expected = contrastive_loss(o.detach().float(), n.detach().float(), 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(contrastive_loss(o.float(), n.float(), 0.1), expected)
        loss = contrastive_loss(o, n, 0.1)
    assert torch.equal(loss, expected)
    loss.backward()
    assert o.grad.dtype == dtype


X = torch.ones(3, 4)
LABELS = torch.tensor([0, 1, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: contrastive_loss(X, torch.ones(2, 4)), r"one shape, got \(3, 4\) and \(2, 4\)"),
        (lambda: contrastive_loss(X, X.double()), "one dtype and device, got torch.float32"),
        (lambda: contrastive_loss(X, X.to("meta")), "one dtype and device"),
        (lambda: contrastive_loss(X.long(), X.long()), "o must be a floating-point tensor, got torch.int64"),
        (lambda: contrastive_loss([1.0], X), "o must be a floating-point tensor, got list"),
        (lambda: contrastive_loss(X[0], X[0]), r"\[rows, dimensions\] with at least one of each, got \(4,\)"),
        (lambda: contrastive_loss(X[:0], X[:0]), r"at least one of each, got \(0, 4\)"),
        (lambda: contrastive_loss(X[:, :0], X[:, :0]), r"at least one of each, got \(3, 0\)"),
        (lambda: contrastive_loss(X, X / torch.tensor([[1.0], [0], [1]])), "n has a non-finite .* row 1"),
        (lambda: contrastive_loss(X, X, 0.0), r"positive number, got 0.0"),
        (lambda: contrastive_loss(X, X, math.nan), "positive number, got nan"),
        (lambda: contrastive_loss(X, X, torch.ones(1)), r"without dimensions, got torch.float32 \(1,\)"),
        (lambda: contrastive_loss(X, X, torch.tensor(-1.0)), r"positive number, got -1\.0"),
        (lambda: contrastive_loss(X, X, reduction="max"), "mean, sum, none, got 'max'"),
        (
            lambda: contrastive_loss(X, X, backend="triton"),
            "needs its tensors on a CUDA device, and they are on cpu",
        ),
        (lambda: contrastive_loss(X, X, precision="bf16"), "precision='bf16' needs backend='triton'"),
        (lambda: contrastive_loss(X, X, precision="fp8"), "one of auto, bf16, tf32, fp32, got 'fp8'"),
        (
            lambda: contrastive_loss(X, X, backend="native"),
            "'native' does not exist; choose 'auto' or 'blocked' or 'reference'",
        ),
        (lambda: group_contrastive_loss(X, X, LABELS, 2, backend="cuda"), "got 'cuda'"),
        (lambda: group_contrastive_loss(X, X, LABELS, 1), r"labels must lie in \[0, 1\), got 0 to 1"),
        (lambda: group_contrastive_loss(X, X, LABELS, 2, LABELS - 1), r"labels_n must lie in .* -1 to 0"),
        (lambda: group_contrastive_loss(X, X, LABELS, 0), "num_classes must be a positive whole number"),
        (lambda: group_contrastive_loss(X, X, LABELS[:2], 2), r"labels must be \[3\], .* got \(2,\)"),
        (lambda: group_contrastive_loss(X, X, LABELS.int(), 2), "labels must be an int64 tensor, got"),
        (lambda: group_contrastive_loss(X, X, [0, 1, 1], 2), "labels must be an int64 tensor, got list"),
        (lambda: supervised_contrastive_loss(X, LABELS.to("meta")), "labels must be on cpu"),
        (lambda: supervised_contrastive_loss(X, LABELS, -1), "positive number, got -1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
