"""The contrastive kernels in Triton's interpreter against the float64 reference. Run with TRITON_INTERPRET=1."""

import math

import numpy as np
import pytest
import torch
import triton.language as tl
from support.shared import shared_folder
from triton.runtime import interpreter

from fastpose.ops import contrastive_loss, group_contrastive_loss, launch, supervised_contrastive_loss
from fastpose.ops.contrastive import class_means as class_means_op
from fastpose.ops.contrastive import fused, tiles

TOLERANCE = {torch.float32: 5e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}


@pytest.fixture(autouse=True)
def bf16_as_on_a_gpu(monkeypatch):
    """The interpreter keeps bf16 as bit patterns; it would multiply those, and cut float32 off instead of rounding."""
    builder = interpreter.InterpreterBuilder
    create_dot, cast = builder.create_dot, builder.cast_impl

    def widened(handle):
        if handle.dtype != tl.bfloat16:
            return handle
        bits = handle.data.astype(np.uint32) << 16
        return interpreter.TensorHandle(bits.view(np.float32), tl.float32)

    def rounding_cast(self, source, to):
        if source.dtype.scalar != tl.float32 or to.scalar != tl.bfloat16:
            return cast(self, source, to)
        rounded = torch.from_numpy(np.array(source.data)).bfloat16().view(torch.int16).numpy()
        return interpreter.TensorHandle(rounded.view(np.uint16), tl.bfloat16)

    monkeypatch.setattr(
        builder, "create_dot", lambda self, a, b, *rest: create_dot(self, widened(a), widened(b), *rest)
    )
    monkeypatch.setattr(builder, "create_fp_trunc", rounding_cast)


@pytest.fixture(autouse=True)
def poisoned(monkeypatch):
    """What a kernel does not write is NaN."""
    new_empty = torch.Tensor.new_empty

    def poison(self, *args, **kwargs):
        made = new_empty(self, *args, **kwargs)
        return made.fill_(math.nan) if made.is_floating_point() else made

    monkeypatch.setattr(torch.Tensor, "new_empty", poison)


def rows(count, width, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator).to(dtype)


def results(loss_of, backend, o, n, tau):
    """Loss and gradients of o, n and the temperature."""
    leaves = [value.clone().requires_grad_() for value in (o, n, tau)]
    loss = loss_of(*leaves, backend)
    weight = torch.linspace(0.5, 1.5, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
    (loss * weight).sum().backward()
    return [loss.detach(), *(leaf.grad for leaf in leaves)]


def assert_as_reference(loss_of, o, n, tau):
    """Errors against float64 within the dtype's tolerance of those of the reference in the same dtype."""
    truth = results(loss_of, "reference", o.double(), n.double(), tau.double())
    found, peer = (results(loss_of, backend, o, n, tau) for backend in ("triton", "reference"))
    for value, same_dtype, expected in zip(found, peer, truth, strict=True):
        if expected is not None:
            scale = max(expected.abs().max().item(), 1e-3)
            error, own_error = ((x.double() - expected).abs().max().item() for x in (value, same_dtype))
            assert error <= own_error + TOLERANCE[o.dtype] * scale
    return found


# (rows, width): one row; not multiples of any tile; several tiles; several blocks of columns
SHAPES = [(1, 8), (2, 5), (35, 16), (9, 300)]
FLOAT32, FLOAT16, BFLOAT16 = TOLERANCE
CASES = [(*shape, symmetric, FLOAT32) for shape in SHAPES for symmetric in (False, True)]
CASES += [(23, 40, False, FLOAT16), (23, 40, True, BFLOAT16), (9, 300, False, BFLOAT16)]
CASES += [(2, 1100, True, FLOAT32)]  # wide


@pytest.mark.parametrize(("count", "width", "symmetric", "dtype"), CASES)
def test_instance(count, width, symmetric, dtype):
    o = rows(count, width, dtype=dtype)
    n = (o.float() + rows(count, width, 1)).to(dtype)
    if count > 5:
        o[3] = 0
        n[4] = n[5]

    def loss_of(o, n, tau, backend):
        return contrastive_loss(o, n, tau, symmetric, reduction="none", backend=backend)

    tau = torch.tensor(0.2 if dtype == torch.float32 else 0.5)
    found = assert_as_reference(loss_of, o, n, tau)
    if count > 5:
        assert torch.count_nonzero(found[1][3]) == 0


@pytest.mark.parametrize(("temperature", "width"), [(0.02, 16), (0.02, 300), (0.0231, 16), (1.0, 300)])
def test_temperatures(temperature, width):
    """As numbers: the fixed bound from 0.023 up, row maxima below."""
    o = rows(20, width)
    n = -o + 0.05 * rows(20, width, 1)

    def loss_of(o, n, tau, backend):
        return contrastive_loss(o, n, temperature, True, reduction="sum", backend=backend) + 0 * tau

    assert fused.needs_row_maxima(temperature) == (temperature < 0.0229)
    assert_as_reference(loss_of, o, n, torch.tensor(1.0))


@pytest.mark.parametrize(("symmetric", "dtype"), [(False, FLOAT32), (True, FLOAT16), (True, BFLOAT16)])
def test_group(symmetric, dtype):
    o, n = rows(90, 20, dtype=dtype), rows(90, 20, 1, dtype)
    labels = torch.arange(90) % 55  # 65 of 120 classes have no row
    labels_n = labels.roll(3)
    labels_n[labels_n == 7] = 60  # one in o alone, one in n alone

    def loss_of(o, n, tau, backend):
        return group_contrastive_loss(o, n, labels, 120, labels_n, tau, symmetric, backend=backend)

    assert_as_reference(loss_of, o, n, torch.tensor(0.3))


@pytest.mark.parametrize(("count", "dtype"), [(1, FLOAT32), (40, FLOAT16), (40, BFLOAT16), (70, FLOAT32)])
def test_supervised(count, dtype):
    z = rows(count, 24, dtype=dtype)
    labels = torch.randint(-3, 12, (count,), generator=torch.Generator().manual_seed(0)) * 2**40
    labels[0] = 17  # without a positive

    def loss_of(z, n, tau, backend):
        return supervised_contrastive_loss(z, labels, tau, backend=backend) + 0 * n.sum()

    assert_as_reference(loss_of, z, z.clone(), torch.tensor(0.1))
    number = supervised_contrastive_loss(z, labels, 0.1, "none", "triton")
    assert number.shape == (count,)
    assert number[0] == 0


def test_no_shared_class():
    o, n = rows(3, 4).requires_grad_(), rows(3, 4, 1).requires_grad_()
    loss = group_contrastive_loss(o, n, torch.tensor([0, 0, 1]), 4, torch.tensor([2, 3, 2]), backend="triton")
    loss.backward()
    assert loss.item() == 0
    assert torch.count_nonzero(o.grad) == torch.count_nonzero(n.grad) == 0


def test_duplicates():
    o = rows(1, 8).expand(6, 8)
    loss = contrastive_loss(o, o.clone(), 0.05, backend="triton")
    assert loss.item() == pytest.approx(math.log(11), rel=1e-5)  # 11 keys at cosine 1


def assert_bounded(loss_of, o, n, temperature, factor):
    """Results are finite, and those of float64 within what cosines off by a rounding make of the longest gradient."""
    truth = results(loss_of, "reference", o.double(), n.double(), torch.tensor(temperature).double())
    largest = (1 / temperature, 2 / temperature, 2 / temperature, 2 / temperature**2)
    found = results(loss_of, "triton", o, n, torch.tensor(temperature))
    for value, expected, bound in zip(found, truth, largest, strict=True):
        if expected is not None:
            assert value.isfinite().all()
            assert (value - expected).abs().max() <= 2e-6 / temperature * bound * factor


# One clip has nothing but its positive; width 1 has nothing but equal and opposite rows; wide rows take panels.
@pytest.mark.parametrize(
    ("count", "width", "dtype", "temperature", "factor"),
    [
        (1, 2, FLOAT32, 0.0112, 1.0),
        (5, 1, FLOAT32, 0.001, 1.0),
        (5, 1, FLOAT32, 0.0232, 2.0**16),
        (1, 300, BFLOAT16, 0.001, 1.0),
    ],
)
@pytest.mark.parametrize("kind", ["one", "symmetric", "detached", "group", "group symmetric", "supervised"])
def test_opposite_rows(monkeypatch, kind, count, width, dtype, temperature, factor):
    """Keys that are none (padding, classes of one view) weigh nothing where their weights would be infinite."""
    if width == 300:
        monkeypatch.setattr(tiles, "FEW", 0)
        monkeypatch.setattr(tiles, "SMALL", 0)
    o, n = torch.zeros(2, count, width, dtype=dtype)
    o[:, 0], n[:, 0] = torch.tensor([1, 1, 1, 0, -1])[:count], torch.tensor([-1, -2, -1, 0, 3])[:count]
    labels, labels_n = torch.tensor([0, 1, 1, 1, 3])[:count], torch.tensor([0, 2, 2, 2, 3])[:count]

    def loss_of(o, n, tau, backend):
        if kind == "supervised":
            loss = supervised_contrastive_loss(torch.cat([o, n]), labels.repeat(2), tau, backend=backend)
        elif kind.startswith("group"):
            loss = group_contrastive_loss(
                o, n, labels, 4, labels_n, tau, kind == "group symmetric", backend=backend
            )
        else:
            loss = contrastive_loss(o, n, tau, kind == "symmetric", kind == "detached", backend=backend)
        return loss * factor

    assert_bounded(loss_of, o, n, temperature, factor)


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e30])
def test_rows_of_any_length(scale):
    o, n = rows(4, 3), rows(4, 3, 1)
    leaf = (o * torch.tensor([1, scale, 1, 1])[:, None]).requires_grad_()
    loss = contrastive_loss(leaf, n, backend="triton")
    loss.backward()
    unit = torch.where(torch.tensor(scale < 1e-38), o * torch.tensor([1, 0, 1, 1.0])[:, None], o)
    assert loss.item() == pytest.approx(contrastive_loss(unit, n).item(), rel=1e-5)
    assert leaf.grad.isfinite().all()
    assert (torch.count_nonzero(leaf.grad[1]) == 0) == (scale < 1e-38)


@pytest.mark.parametrize("layout", ["columns first", "every other row", "repeated row"])
def test_strides(layout):
    o = {
        "columns first": rows(6, 7).T.contiguous().T,
        "every other row": rows(12, 7)[::2],
        "repeated row": rows(1, 7).expand(6, 7),
    }[layout]
    n = rows(6, 7, 1)
    expected = contrastive_loss(o.contiguous(), n, backend="triton")
    assert torch.equal(contrastive_loss(o, n, backend="triton"), expected)


@pytest.mark.parametrize("label", [-1, 5])
def test_labels_out_of_range_are_no_number(label):
    o, n, labels = rows(6, 4), rows(6, 4, 1), torch.tensor([0, 1, 2, 0, 1, label])
    mean_o, mean_n, counts = class_means_op.class_means(o, n, labels, labels.clamp(0, 4), 5)
    assert mean_o.isnan().all()
    assert counts[0].isnan().all()
    assert mean_n.isfinite().all()
    with pytest.raises(ValueError, match=r"lie in \[0, 5\)"):
        group_contrastive_loss(o, n, labels, 5, backend="triton")
    loss = fused.fused_forward(mean_o, mean_n, None, counts, None, 1.0, False, "mean", "fp32")[0]
    assert loss.isnan()


def test_bad_values_are_no_number():
    o, n = rows(6, 4), rows(6, 4, 1)
    tau = torch.tensor(-0.1)
    assert fused.fused_forward(o, n, None, None, tau, 0.0, False, "mean", "fp32")[0].isnan()
    o[2, 1] = math.inf
    assert fused.fused_forward(o, n, None, None, None, 0.1, False, "mean", "fp32")[0].isnan()


# panels of which the last has fewer rows; tiles that lie across the end of the anchors; a panel of them all
@pytest.mark.parametrize(
    ("kind", "count", "width", "dtype", "temperature", "panels"),
    [
        ("one", 100, 300, FLOAT32, 0.2, 2),
        ("symmetric", 70, 300, FLOAT16, 0.2, 2),
        ("symmetric", 70, 600, FLOAT32, 0.02, 2),
        ("one", 150, 512, BFLOAT16, 0.5, 2),
        ("supervised", 200, 260, BFLOAT16, 0.5, 2),
        ("supervised", 140, 70, FLOAT32, 0.1, 1),
    ],
)
def test_panels(monkeypatch, kind, count, width, dtype, temperature, panels):
    """Large tiles and panels of weights, with few rows."""
    monkeypatch.setattr(tiles, "FEW", 0)
    monkeypatch.setattr(tiles, "SMALL", 0)
    monkeypatch.setattr(fused, "_processors_and_capability", lambda device: (5, 90))
    launched = []
    monkeypatch.setattr(
        fused, "launch", lambda kernel, *args, **meta: launched.append(kernel) or launch.launch(kernel, *args, **meta)
    )  # fmt: skip
    o = rows(count, width, dtype=dtype)
    n = (o.float() + rows(count, width, 1)).to(dtype)
    labels = torch.arange(count) % 7

    def loss_of(o, n, tau, backend):
        if kind == "supervised":
            return supervised_contrastive_loss(o, labels, temperature, backend=backend) + 0 * (n.sum() + tau)
        return contrastive_loss(o, n, temperature, kind == "symmetric", backend=backend) + 0 * tau

    assert_as_reference(loss_of, o, n, torch.tensor(1.0))
    assert sum(kernel.fn.__name__ == "weights_kernel" for kernel in launched) == panels


@pytest.mark.parametrize("detach", [False, True])
def test_compiles_whole(detach):
    def objective(o, n, labels, tau):
        loss = contrastive_loss(o, n, tau, True, backend="triton")
        loss = loss + supervised_contrastive_loss(o, labels, backend="triton")
        return loss + group_contrastive_loss(
            o, n, labels, 4, None, tau, detach_clean=detach, backend="triton"
        )

    o, n, tau = (x.requires_grad_() for x in (rows(9, 16), rows(9, 16, 1), torch.tensor(0.3)))
    labels = torch.arange(9) % 4
    compiled = torch.compile(objective, fullgraph=True, dynamic=True, backend="aot_eager")
    losses = [step(o, n, labels, tau) for step in (compiled, objective)]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, (o, n, tau)) for loss in losses))


@pytest.mark.parametrize(
    ("case", "kind"),
    [(case, kind) for case in (0, 1) for kind in ("one", "sym", "group_one", "group_sym")]
    + [(2, "one"), (3, "group_sym")],  # the larger ones take the interpreter long
)
def test_oracle(case, kind):
    with np.load(shared_folder() / "oracles" / "contrastive.npz", allow_pickle=False) as file:
        get = {
            key: torch.from_numpy(np.asarray(file[f"{case}/{key}"])) for key in ("o", "n", "y", "tau", "C")
        }
        truth = [
            torch.from_numpy(np.asarray(file[f"{case}/{kind}/{key}"])) for key in ("loss", "do", "dn", "dtau")
        ]
    o, n, tau = (get[key].float().requires_grad_() for key in ("o", "n", "tau"))
    symmetric = kind.endswith("sym")
    if kind.startswith("group"):
        classes = get["C"].item()
        loss = group_contrastive_loss(o, n, get["y"], classes, None, tau, symmetric, backend="triton")
    else:
        loss = contrastive_loss(o, n, tau, symmetric, backend="triton")
    loss.backward()
    for value, expected in zip((loss.detach(), o.grad, n.grad, tau.grad), truth, strict=True):
        assert (value - expected).abs().max() <= 5e-4 * max(expected.abs().max().item(), 1e-3)
