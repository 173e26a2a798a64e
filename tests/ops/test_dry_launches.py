"""The public operators' kernels compiled for what their callers pass: see support.dry_launch."""

import itertools

import pytest
import torch
from support.dry_launch import dry_launches
from support.effort import FULL

from fastpose.ops import (
    contrastive_loss,
    group_contrastive_loss,
    pose_stem,
    render_heatmaps,
    supervised_contrastive_loss,
)

ARCHITECTURES = (80, 90, 100)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LIMBS = [(0, 1), (1, 2), (3, 4)]
MODES = [
    {"mode": "heatmap"},
    {"mode": "limb", "limbs": LIMBS},
    {"mode": "grayscale"},
    {"mode": "grayscale", "joint_merge": "max"},
]
FORMATS = (torch.contiguous_format, torch.channels_last_3d)
SHAPES = [  # clips, persons, frames, joints, then height and width
    ((2, 1, 24, 17, 3), (56, 56)),
    ((1, 1, 1, 5, 3), (1, 1)),
    ((3, 2, 7, 25, 3), (63, 50)),
    ((16, 2, 16, 16, 3), (64, 48)),
]
STEMS = [  # output channels, kernel, stride, padding
    (32, (1, 7, 7), 1, None),
    (24, (1, 3, 3), (1, 2, 2), (0, 1, 1)),
    (1, (3, 3, 3), 1, 1),
    (17, (5, 1, 2), (2, 1, 3), 0),
]


def spread(*choices):
    """Every value of each of the choices, and in a full run all combinations."""
    if FULL:
        return list(itertools.product(*choices))
    longest = max(map(len, choices))
    return [tuple(choice[(i + i // len(choice)) % len(choice)] for choice in choices) for i in range(longest)]


def poses(shape, dtype=torch.float32):
    return torch.rand(shape, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize(
    ("architecture", "shape", "mode", "dtype", "memory_format", "keypoint_dtype"),
    spread(ARCHITECTURES, SHAPES, MODES, DTYPES, FORMATS, [torch.float32, torch.float64, torch.bfloat16]),
)
def test_rendering(architecture, shape, mode, dtype, memory_format, keypoint_dtype):
    keypoints = poses(shape[0], keypoint_dtype)
    with dry_launches(architecture) as launches:
        maps = render_heatmaps(
            keypoints, shape[1], 0.7, dtype=dtype, memory_format=memory_format, backend="triton", **mode
        )
        out = torch.empty_strided(maps.shape, maps.stride(), dtype=dtype)
        render_heatmaps(keypoints.detach(), shape[1], dtype=dtype, out=out, backend="triton", **mode)
        maps.sum().backward()
    forward, again, backward = (launch.kernel for launch in launches)
    assert forward == again == ("draw_grayscale" if mode["mode"] == "grayscale" else "draw_maps")
    assert backward.endswith("_gradients")


@pytest.mark.parametrize(
    ("architecture", "shape", "mode", "dtype", "stem"),
    spread(ARCHITECTURES, SHAPES[:1] + SHAPES[2:], MODES[:3], DTYPES, STEMS),
)
def test_stem(architecture, shape, mode, dtype, stem):
    keypoints = poses(shape[0])
    channels, kernel, stride, padding = stem
    maps = {"heatmap": shape[0][3], "limb": len(LIMBS), "grayscale": 1}[mode["mode"]]
    weight = torch.randn(channels, maps, *kernel, requires_grad=True)
    with dry_launches(architecture) as launches:
        pose_stem(
            keypoints, weight, shape[1], stride=stride, padding=padding, dtype=dtype, backend="triton", **mode
        ).sum().backward()
    names = [launch.kernel for launch in launches]
    assert {"keypoint_gradients", "correlate_maps"} < set(names)


ROWS = [(32, 512), (1, 1), (500, 60), (2049, 128), (96, 2048)]  # clips and columns
PRECISIONS = [(torch.float32, "auto"), (torch.float32, "tf32"), (torch.bfloat16, "auto"), (torch.float16, "auto"),
              (torch.float32, "bf16")]  # fmt: skip
FORMS = [
    {},
    {"symmetric": True, "reduction": "sum"},
    {"detach_clean": True, "reduction": "none"},
    {"symmetric": True, "detach_clean": True},
    {"temperature": 0.005},
]


@pytest.mark.parametrize(
    ("architecture", "rows", "precision", "form", "learned"),
    spread(ARCHITECTURES, ROWS, PRECISIONS, FORMS, [False, True]),
)
def test_contrastive_losses(architecture, rows, precision, form, learned):
    count, width = rows
    dtype, precision = precision
    o, n = (torch.randn(count, width, dtype=dtype, requires_grad=True) for _ in range(2))
    labels = torch.arange(count) % 60
    form = {"temperature": 0.1, **form}
    if learned:
        form["temperature"] = torch.tensor(form["temperature"], requires_grad=True)
    options = {"backend": "triton", "precision": precision}
    with dry_launches(architecture) as launches:
        contrastive_loss(o, n, **form, **options).sum().backward()
        paired = len(launches)
        group_form = {name: value for name, value in form.items() if name != "reduction"}
        group_contrastive_loss(o, n, labels, 60, None, **group_form, **options).backward()
        supervised_contrastive_loss(
            torch.cat([o, n]), labels.repeat(2), form["temperature"], **options
        ).backward()
    assert 4 <= paired < len(launches)
