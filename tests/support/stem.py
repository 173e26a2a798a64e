"""Cases of the stem, and what they should give, for its tests on every device."""

import math

import torch
from torch import Tensor

from fastpose.ops import pose_stem

MODES = {"heatmap": "heatmap", "limb": "limb", "grayscale_sum": "grayscale"}  # by the operators' word


def random_poses(shape, size, seed=0, crowded=True) -> Tensor:
    """[B, M, T, V, 3]: some joints beyond the borders, missing or damaged; crowded persons share windows."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    xy = torch.rand(*shape, 2, generator=generator) * torch.tensor([width + 6.0, height + 6.0]) - 3
    if crowded:
        near = xy[:, :1] + torch.rand(*shape, 2, generator=generator) * 4 - 2
        xy[:, 1:, :, ::2] = near[:, 1:, :, ::2]
    score = torch.rand(*shape, 1, generator=generator) + 0.05
    poses = torch.cat([xy, torch.where(score < 0.15, 0, score)], -1)
    flat = poses.view(-1, 3)
    for position, (part, value) in enumerate([(0, math.nan), (1, 3e38), (2, math.inf), (0, -(2.0**25))]):
        if 11 * position + 5 < len(flat):
            flat[11 * position + 5, part] = value
    return poses


def limbs_of(mode, joints):
    return [(0, joints - 1), (joints - 1, 0), (0, 0)] if mode == "limb" else None


def channels_of(mode, joints):
    return {"heatmap": joints, "limb": 3, "grayscale_sum": 1}[mode]


def make_case(mode, shape, size, kernel, out_channels, seed=0):
    """(keypoints, weight, the further arguments of `pose_stem` but stride and padding)."""
    generator = torch.Generator().manual_seed(seed + 1)
    joints = shape[3]
    weight = torch.randn(out_channels, channels_of(mode, joints), *kernel, generator=generator)
    arguments = {"size": size, "mode": MODES[mode], "limbs": limbs_of(mode, joints)}
    return random_poses(shape, size, seed), weight, arguments


def results(keypoints, weight, gradient_dtype, backend, **arguments):
    """(output, keypoint gradient, weight gradient) for a seeded gradient of the output, rounded to a dtype."""
    keypoints = keypoints.detach().clone().requires_grad_()
    weight = weight.detach().clone().requires_grad_()
    output = pose_stem(keypoints, weight, backend=backend, **arguments)
    gradient = torch.randn(output.shape, generator=torch.Generator().manual_seed(9)).to(gradient_dtype)
    gradient = gradient.to(output.device, output.dtype)
    gradients = torch.autograd.grad(output, (keypoints, weight), gradient, materialize_grads=True)
    return output.detach(), *gradients


def error(value, truth) -> float:
    """Relative, in the norm."""
    return float((value.cpu().double() - truth).norm() / truth.norm().clamp_min(1e-3))
