"""First convolutions at batch 8: from the keypoints, beside torch's convolution of heatmaps that are drawn already.

Forward and the weights' gradient apart. The strong peer has channels_last_3d and keeps freed memory. The floor is
filling the output.
"""

import pytest
import torch
from bench_render import make_poses
from measuring import DTYPES, measure

from fastpose.ops import pose_stem, render_heatmaps

BATCH, SIZE = 8, (56, 56)
SECTION = f"first convolution B{BATCH}"
STEMS = {  # (output channels, kernel, stride, padding)
    "SlowOnly": (32, (1, 7, 7), (1, 1, 1), (0, 3, 3)),
    "X3D-shallow": (24, (1, 3, 3), (1, 2, 2), (0, 1, 1)),
    "C3D-light": (32, (3, 3, 3), (1, 1, 1), (1, 1, 1)),
}
TIMED = ("SlowOnly", "X3D-shallow")  # C3D-light's output is SlowOnly's
PASSES = ("forward", "gradient")


def make_case(stem: str):
    channels, kernel, stride, padding = STEMS[stem]
    torch.manual_seed(0)
    poses = make_poses(BATCH, 1)
    return poses, torch.randn(channels, poses.shape[3], *kernel), stride, padding


def from_keypoints(stem: str, dtype: str):
    """Return what convolves, and what gives the weights' gradient; with what the first gives."""
    poses, weight, stride, padding = make_case(stem)

    def forward():
        return pose_stem(poses, weight, SIZE, stride=stride, padding=padding, dtype=DTYPES[dtype])

    volume = forward()
    gradient = torch.randn_like(volume)
    settings = (SIZE, 0.6, "heatmap", [], stride, padding)

    def weight_gradient():
        torch.ops.fastpose.pose_stem_weight_gradient(gradient, poses, weight, *settings)

    return forward, weight_gradient, volume


def from_drawn(stem: str, dtype: str, *, strong: bool):
    """Return the same of torch's convolution."""
    poses, weight, stride, padding = make_case(stem)
    order = torch.channels_last_3d if strong else torch.contiguous_format
    maps = render_heatmaps(poses, SIZE, dtype=DTYPES[dtype], memory_format=order)
    weight = weight.to(DTYPES[dtype], memory_format=order)

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

    return forward, weight_gradient, volume


def run(benchmark, function, case: str, volume: torch.Tensor, dtype: str, **info) -> None:
    measure(
        benchmark,
        function,
        SECTION,
        case=case,
        dtype=dtype,
        clips=BATCH,
        bytes=volume.nbytes,
        seconds=0.5,
        **info,
    )


@pytest.mark.parametrize("direction", PASSES)
@pytest.mark.parametrize("stem", TIMED)
def test_stem(benchmark, stem, direction, who, dtype):
    if who == "fastpose":
        forward, weight_gradient, volume = from_keypoints(stem, dtype)
    else:
        forward, weight_gradient, volume = from_drawn(stem, dtype, strong=who == "strong")
    function = forward if direction == "forward" else weight_gradient
    run(benchmark, function, f"{stem} {direction}", volume, dtype, who=who)


@pytest.mark.parametrize("stem", TIMED)
def test_fill(benchmark, stem, dtype):
    volume = from_keypoints(stem, dtype)[2]
    fill = lambda: volume.fill_(0.5)  # noqa: E731
    run(benchmark, fill, f"{stem} forward", volume, dtype, role="floor", row=f"fill {stem} {dtype}")
