"""The contrastive kernels on a GPU.

For compute-sanitizer: `compute-sanitizer --tool memcheck | racecheck python -m pytest
tests/ops/contrastive/test_contrastive_gpu.py -k reference`; the other tests use the largest sizes and would take hours.
"""

import pytest
import torch

from fastpose.ops import contrastive_loss, group_contrastive_loss, supervised_contrastive_loss

pytestmark = pytest.mark.gpu
TOLERANCE = {torch.float32: 5e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}
LOSSES = {
    "instance": lambda o, n, y, tau, b: contrastive_loss(o, n, tau, backend=b),
    "symmetric": lambda o, n, y, tau, b: contrastive_loss(o, n, tau, True, backend=b),
    "group": lambda o, n, y, tau, b: group_contrastive_loss(o, n, y, 120, None, tau, backend=b),
    "supervised": lambda o, n, y, tau, b: supervised_contrastive_loss(torch.cat([o, n]), y.repeat(2), tau, "mean", b),
}  # fmt: skip
FORMATS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def rows(count, width, seed=0, dtype=torch.float32):
    generator = torch.Generator("cuda").manual_seed(seed)
    return torch.randn(count, width, generator=generator, device="cuda").to(dtype)


def views(count, width, dtype=torch.float32):
    o = rows(count, width, dtype=dtype)
    n = (o.float() + rows(count, width, 1)).to(dtype)
    return o, n, torch.arange(count, device="cuda") % 55


def results(loss_of, backend, o, n, labels, tau):
    leaves = [value.clone().requires_grad_() for value in (o, n, tau)]
    loss = loss_of(*leaves[:2], labels, leaves[2], backend)
    loss.backward()
    return [loss.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("temperature", [0.02, 0.5])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(
    ("count", "width"),
    [
        (1, 8),
        (63, 123),
        (500, 512),
        (1300, 128),
        (1300, 512),
        (1100, 256),
        (2500, 1024),
        (130, 2048),
        (4500, 64),
    ],
)
def test_equals_the_reference(count, width, dtype, name, temperature):
    dtype = FORMATS[dtype]
    if dtype != torch.float32 and temperature < 0.1:
        temperature = 0.1  # exp magnifies the rounding of the operands by 1 / tau
    o, n, labels = views(count, width, dtype)
    tau = torch.tensor(temperature, device="cuda")
    loss_of = LOSSES[name]
    truth = results(loss_of, "reference", o.double(), n.double(), labels, tau.double())
    found = results(loss_of, "triton", o, n, labels, tau)
    peer = results(loss_of, "reference", o, n, labels, tau)
    for value, same_dtype, expected in zip(found, peer, truth, strict=True):
        scale = max(expected.abs().max().item(), 1e-3)
        error, own_error = ((x.double() - expected).abs().max().item() for x in (value, same_dtype))
        assert error <= own_error + TOLERANCE[dtype] * scale


@pytest.mark.parametrize("name", LOSSES)
def test_equal_bits(name):
    o, n, labels = views(5000, 200, torch.bfloat16)
    first, second = (
        results(LOSSES[name], "triton", o, n, labels, torch.tensor(0.1, device="cuda")) for _ in range(2)
    )
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("symmetric", [False, True])
def test_memory_is_linear(symmetric):
    count, width = 65536, 128
    o, n, _ = views(count, width, torch.bfloat16)
    o.requires_grad_()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    contrastive_loss(o, n, 0.1, symmetric).backward()
    torch.cuda.synchronize()
    assert o.grad.isfinite().all()
    assert torch.cuda.max_memory_allocated() - before < 32 * 2 * count * width  # N x N alone would be 17 GB


def test_addresses_beyond_32_bits():
    count, width = 2**19 + 1, 2048  # 2 N D > 2^31
    x = rows(count, width, dtype=torch.bfloat16)
    labels = torch.arange(count, device="cuda") % 7
    y = x.roll(1, 0).requires_grad_()
    loss = group_contrastive_loss(x, y, labels, 7)
    loss.backward()
    expected = y.detach()[labels == 6].float().mean(0)
    assert loss.isfinite()
    assert expected.isfinite().all()
    assert torch.count_nonzero(y.grad[-1]) > 0


def test_compiles_whole_for_any_count():
    def objective(o, n, labels, tau):
        loss = contrastive_loss(o, n, tau) + group_contrastive_loss(o, n, labels, 60)
        return loss + supervised_contrastive_loss(o, labels)

    compiled = torch.compile(objective, fullgraph=True, dynamic=True)
    for count in (60, 100):
        o, n, labels = views(count, 32)
        tau = torch.tensor(0.3, device="cuda", requires_grad=True)
        o.requires_grad_()
        losses = [step(o, n, labels, tau) for step in (compiled, objective)]
        torch.testing.assert_close(*losses)
        torch.testing.assert_close(*(torch.autograd.grad(loss, (o, tau)) for loss in losses))


def test_nothing_waits_for_the_device():
    o, n, labels = views(300, 64)
    o.requires_grad_()
    tau = torch.tensor(0.3, device="cuda", requires_grad=True)
    for loss_of in LOSSES.values():
        loss_of(o, n, labels, tau, "triton").backward()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        for loss_of in LOSSES.values():
            loss_of(o, n, labels, tau, "triton").backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_labels_out_of_range_are_no_number():
    o, n, labels = views(100, 64)
    labels[5] = 120
    assert group_contrastive_loss(o, n, labels, 120).isnan()
