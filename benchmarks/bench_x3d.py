"""X3D-shallow's step (forward and backward) at batch 8, beside the plain fp32 form and the machine's matrix rate.

fastpose starts from keypoints, the plain form from heatmaps that are drawn already.
"""

import peers_x3d
import pytest
import torch
import torch.nn.functional as F

from fastpose.models import create_model
from fastpose.ops import render_heatmaps

BATCH, FRAMES, SIZE, NUM_CLASSES = 8, 24, (56, 56), 60
FORWARD_FLOP = 0.569e9  # per clip, of the convolutions
CASES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def inputs():
    generator = torch.Generator().manual_seed(0)
    keypoints = torch.rand(BATCH, 1, FRAMES, 17, 3, generator=generator) * torch.tensor([56, 56, 1])
    return keypoints, torch.randint(NUM_CLASSES, (BATCH,), generator=generator)


def drawn(keypoints):
    return render_heatmaps(keypoints, SIZE)


def measure(benchmark, step, **info):
    benchmark.group = "X3D-shallow step"
    benchmark.extra_info.update(clips=BATCH, flop=3 * FORWARD_FLOP * BATCH, **info)
    benchmark.pedantic(step, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("name", CASES)
def test_step(benchmark, name):
    dtype = CASES[name]
    keypoints, labels = inputs()
    torch.manual_seed(0)
    model = create_model("x3d_shallow", input="heatmap", num_classes=NUM_CLASSES)
    model = model.to(memory_format=torch.channels_last_3d)

    def step():
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = model(model.prepare_input(keypoints)).logits
        F.cross_entropy(logits, labels).backward()

    measure(benchmark, step, note=name)


@pytest.mark.parametrize("name", CASES)
def test_scoring(benchmark, name):
    """The forward pass of an evaluation, to be set against the step."""
    dtype = CASES[name]
    keypoints, _ = inputs()
    model = create_model("x3d_shallow", input="heatmap", num_classes=NUM_CLASSES).eval()
    model = model.to(memory_format=torch.channels_last_3d)

    @torch.inference_mode()
    def score():
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            return model(model.prepare_input(keypoints)).logits

    benchmark.group = "X3D-shallow scoring"
    benchmark.extra_info.update(clips=BATCH, flop=FORWARD_FLOP * BATCH, note=name)
    benchmark.pedantic(score, rounds=5, warmup_rounds=1)


@pytest.mark.as_today
def test_peer_step(benchmark):
    keypoints, labels = inputs()
    x = drawn(keypoints)
    torch.manual_seed(0)
    model = peers_x3d.X3DShallow(17, NUM_CLASSES)
    assert sum(weight.numel() for weight in model.parameters()) == 254_508

    def step():
        model.zero_grad()
        F.cross_entropy(model(x), labels).backward()

    measure(benchmark, step, role="peer", note="float32, plain modules")


def test_peer_is_the_same_network():
    model = create_model("x3d_shallow", input="heatmap", num_classes=NUM_CLASSES).eval()
    peer = peers_x3d.X3DShallow(17, NUM_CLASSES).eval()
    ours, theirs = ([*network.parameters()] for network in (model, peer))
    assert [weight.shape for weight in ours] == [weight.shape for weight in theirs]
    with torch.no_grad():
        for weight, other in zip(ours, theirs, strict=True):
            if weight.ndim == 1:  # among them those of batch norms that start as zero
                weight.uniform_(0.5, 1)
            other.copy_(weight)
        keypoints, _ = inputs()
        found = model(model.prepare_input(keypoints)).logits
        torch.testing.assert_close(peer(drawn(keypoints)), found, rtol=1e-4, atol=1e-4)


def test_matrix_rate(benchmark):
    a, b = (torch.randn(2048, 2048, dtype=torch.bfloat16) for _ in range(2))
    benchmark.group = "X3D-shallow step"
    benchmark.extra_info.update(flop=2 * 2048**3, role="floor", note="bfloat16 matrix rate")
    benchmark.pedantic(lambda: a @ b, rounds=10, warmup_rounds=1)
