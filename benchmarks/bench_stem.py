"""First convolutions at batch 8: from the keypoints, beside torch's convolution of heatmaps that are drawn already.

Two threads, forward and the weights' gradient apart. The floor is filling the output.
"""

import pytest
import torch
from bench_render import make_poses

from fastpose.ops import pose_stem, render_heatmaps

BATCH, SIZE = 8, (56, 56)
STEMS = {  # (output channels, kernel, stride, padding)
    "SlowOnly": (32, (1, 7, 7), (1, 1, 1), (0, 3, 3)),
    "X3D-shallow": (24, (1, 3, 3), (1, 2, 2), (0, 1, 1)),
    "C3D-light": (32, (3, 3, 3), (1, 1, 1), (1, 1, 1)),
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
PEERS = {  # the dtype and the memory format of drawn heatmaps
    "fp32": (torch.float32, torch.contiguous_format),
    "fp32 channels last": (torch.float32, torch.channels_last_3d),
    "bf16 channels last": (torch.bfloat16, torch.channels_last_3d),
}
PASSES = ("forward", "weight gradient")


def make_case(stem: str):
    channels, kernel, stride, padding = STEMS[stem]
    torch.manual_seed(0)
    poses = make_poses(BATCH, 1)
    return poses, torch.randn(channels, poses.shape[3], *kernel), stride, padding


def run(benchmark, function, stem: str, direction: str, **extra_info) -> None:
    benchmark.group = f"stem of {stem}, {direction}"
    benchmark.extra_info.update(clips=BATCH, **extra_info)
    benchmark.pedantic(function, rounds=9, warmup_rounds=2)


@pytest.mark.parametrize("case", DTYPES)
@pytest.mark.parametrize("direction", PASSES)
@pytest.mark.parametrize("stem", STEMS)
def test_stem(benchmark, stem, direction, case):
    poses, weight, stride, padding = make_case(stem)
    dtype = DTYPES[case]

    def forward():
        return pose_stem(poses, weight, SIZE, stride=stride, padding=padding, dtype=dtype)

    volume = forward()
    gradient = torch.randn_like(volume)
    settings = (SIZE, 0.6, "heatmap", [], stride, padding)

    def weight_gradient():
        torch.ops.fastpose.pose_stem_weight_gradient(gradient, poses, weight, *settings)

    function = forward if direction == "forward" else weight_gradient
    run(benchmark, function, stem, direction, bytes=volume.nbytes, case=case)


@pytest.mark.as_today
@pytest.mark.parametrize("form", PEERS)
@pytest.mark.parametrize("direction", PASSES)
@pytest.mark.parametrize("stem", STEMS)
def test_drawn(benchmark, stem, direction, form):
    poses, weight, stride, padding = make_case(stem)
    dtype, memory_format = PEERS[form]
    maps = render_heatmaps(poses, SIZE, dtype=dtype, memory_format=memory_format)
    weight = weight.to(dtype, memory_format=memory_format)

    def forward():
        return torch.nn.functional.conv3d(maps, weight, None, stride, padding)

    volume = forward()
    expected = pose_stem(poses, weight.float(), SIZE, stride=stride, padding=padding)
    assert (volume - expected).abs().max() <= 2e-2 * expected.abs().max()
    gradient = torch.randn_like(volume)

    def weight_gradient():
        torch.ops.aten.convolution_backward(
            gradient,
            maps,
            weight,
            None,
            stride,
            padding,
            (1, 1, 1),
            False,
            (0, 0, 0),
            1,
            (False, True, False),
        )

    function = forward if direction == "forward" else weight_gradient
    run(benchmark, function, stem, direction, bytes=volume.nbytes, role="peer", note=form)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stem", STEMS)
def test_fill(benchmark, stem, dtype):
    poses, weight, stride, padding = make_case(stem)
    volume = pose_stem(poses, weight, SIZE, stride=stride, padding=padding, dtype=DTYPES[dtype])
    run(benchmark, lambda: volume.fill_(0.5), stem, "forward", bytes=volume.nbytes, role="floor", case=dtype)
