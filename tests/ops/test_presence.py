"""When a joint is present: in torch, in NumPy, and in what the renderers draw."""

import math

import numpy as np
import pytest
import torch

from fastpose.data.pack import presence
from fastpose.models.inputs.pose_input import is_present
from fastpose.ops import render_heatmaps
from fastpose.ops.limits import MAX_COORDINATE
from fastpose.ops.presence import present_joints

BEYOND = float(np.nextafter(np.float32(MAX_COORDINATE), np.float32(np.inf)))
JOINTS = [
    ((0.0, 0.0, 1.0), True),
    ((-MAX_COORDINATE, MAX_COORDINATE, 1e-6), True),
    ((BEYOND, 0.0, 1.0), False),
    ((0.0, -BEYOND, 1.0), False),
    ((math.nan, 0.0, 1.0), False),
    ((0.0, math.inf, 1.0), False),
    ((0.0, 0.0, 0.0), False),
    ((0.0, 0.0, -1.0), False),
    ((0.0, 0.0, math.inf), False),
    ((0.0, 0.0, math.nan), False),
]


@pytest.mark.parametrize(("joint", "present"), JOINTS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_rule(joint, present, dtype):
    keypoints = torch.tensor([joint], dtype=dtype)
    assert present_joints(keypoints).tolist() == [present]
    assert is_present(keypoints).tolist() == [[present]]
    values = np.array([joint], np.float32)
    assert presence.present_joints(values[:, :2], values[:, 2]).tolist() == [present]


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(("far", "drawn"), [(MAX_COORDINATE, True), (BEYOND, False)])
def test_a_limb_to_a_joint_that_is_not_present_is_not_drawn(backend, far, drawn):
    poses = torch.tensor([[4.0, 4.0, 1.0], [far, 4.0, 1.0]]).reshape(1, 1, 1, 2, 3)
    maps = render_heatmaps(poses, (9, 9), mode="limb", limbs=[(0, 1)], backend=backend)
    assert (maps[..., 4, 8] == 1).item() == drawn
