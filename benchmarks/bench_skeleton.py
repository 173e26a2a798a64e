"""PoseConv3D's step on skeletons (two persons, T = 24), beside the same network through its full kernels.

All forward and backward, without the optimiser. The floor is the machine's matrix rate.
"""

import peers_train
import pytest
import torch
import torch.nn.functional as F

from fastpose.models import create_model

CHANNELS, FRAMES, NUM_CLASSES = 68, 24, 60
STEP_FLOP = 137e6  # per clip, of the convolutions' centre taps, forward and backward


def measure(benchmark, model, batch: int, *, bf16: bool, **info) -> None:
    torch.manual_seed(0)
    x = torch.randn(batch, CHANNELS, FRAMES, 1, 1)
    labels = torch.randint(NUM_CLASSES, (batch,))

    def step():
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output = model(x)
        F.cross_entropy(getattr(output, "logits", output), labels).backward()

    benchmark.group = "PoseConv3D step on skeletons"
    benchmark.extra_info.update(clips=batch, flop=STEP_FLOP * batch, **info)
    benchmark.pedantic(step, rounds=7, warmup_rounds=2)


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("batch", [32, 256])
def test_centre_taps(benchmark, batch, bf16):
    model = create_model("posec3d", input="skeleton", num_classes=NUM_CLASSES)
    measure(benchmark, model, batch, bf16=bf16)


@pytest.mark.as_today
@pytest.mark.parametrize("batch", [32, 256])
def test_full_kernels(benchmark, batch):
    model = peers_train.SlowOnly(CHANNELS, NUM_CLASSES)
    measure(benchmark, model, batch, bf16=False, role="peer", note="float32, full kernels")


def test_matrix_rate(benchmark):
    a, b = (torch.randn(2048, 2048, dtype=torch.bfloat16) for _ in range(2))
    benchmark.group = "PoseConv3D step on skeletons"
    benchmark.extra_info.update(flop=2 * 2048**3, role="floor", note="bfloat16 matrix rate")
    benchmark.pedantic(lambda: a @ b, rounds=10, warmup_rounds=1)
