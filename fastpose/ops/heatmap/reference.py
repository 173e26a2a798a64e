"""The definition of the rendered maps, in plain differentiable torch.

A joint is a Gaussian ``score * exp(-d² / 2σ²)`` inside the window ``int(μ - 3σ)..int(μ + 3σ)``, ``int``
truncating toward zero, in float32 whatever the dtype of the values. Persons merge by maximum.
The gradient of a pixel goes to the mark that gave it its value: of equal ones to the first person, then (joints
merged by maximum) to the first joint. Both ends of a limb share the gradient of equal scores.
Letters: B clips, M persons, T frames, V joints, L limbs, H x W pixels.
"""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from fastpose.ops.heatmap.modes import HeatmapMode
from fastpose.ops.presence import present_joints

MIN_SCORE = 0.001  # below it a joint draws nothing


def render_heatmaps_reference(
    keypoints: Tensor,  # [B, M, T, V, 3]
    size: tuple[int, int],
    sigma: float,
    mode: HeatmapMode,
    limbs: Sequence[tuple[int, int]],
    dtype: torch.dtype,
) -> Tensor:  # [B, V | L | 1, T, H, W]
    """Return `fastpose.ops.render_heatmaps` on checked arguments, in float64 if a dtype is, else float32."""
    precision = torch.promote_types(torch.promote_types(keypoints.dtype, dtype), torch.float32)
    num_clips, num_persons, num_frames, num_joints, _ = keypoints.shape
    drawn = _drawn(keypoints)
    poses = torch.where(drawn[..., None], keypoints, 0).to(precision)

    maps = poses.new_zeros(num_clips, num_frames, len(limbs) if mode == "limb" else num_joints, *size)
    for person in range(num_persons):
        pose, visible = poses[:, person], drawn[:, person]  # [B, T, V, 3], [B, T, V]
        person_maps = _joint_maps(pose, visible, size, sigma)
        if mode == "limb":
            person_maps = _limb_maps(pose, visible, person_maps, limbs, sigma)
        maps = _larger(maps, person_maps)

    if mode == "grayscale_max" and num_joints > 0:
        maps = functools.reduce(_larger, maps.split(1, dim=2))
    elif mode in ("grayscale_sum", "grayscale_max"):
        maps = maps.sum(2, keepdim=True)
    return maps.transpose(1, 2).to(dtype).contiguous()


def _larger(first: Tensor, second: Tensor) -> Tensor:
    return torch.where(second > first, second, first)  # of equal ones the first has the gradient


def _drawn(keypoints: Tensor) -> Tensor:  # [..., 3] -> [...]
    return present_joints(keypoints) & (keypoints[..., 2].detach().float() >= MIN_SCORE)


def _window(low: Tensor, high: Tensor, sigma: float, length: int) -> Tensor:  # [...] -> [..., length]
    pixel = torch.arange(length, device=low.device, dtype=torch.float32)
    first = (low.detach().float() - 3 * sigma).trunc()
    last = (high.detach().float() + 3 * sigma).trunc()
    return (pixel >= first[..., None]) & (pixel <= last[..., None])


def _joint_maps(
    pose: Tensor,  # [B, T, V, 3]
    visible: Tensor,  # [B, T, V]
    size: tuple[int, int],
    sigma: float,
) -> Tensor:  # [B, T, V, H, W]
    x, y, score = pose.unbind(-1)

    def profile(centre: Tensor, length: int) -> Tensor:  # [B, T, V] -> [B, T, V, length]
        pixel = torch.arange(length, device=pose.device, dtype=pose.dtype)
        values = torch.exp(-(((pixel - centre[..., None]) / sigma) ** 2) / 2)
        return torch.where(_window(centre, centre, sigma, length) & visible[..., None], values, 0)

    height, width = size
    rows = score[..., None] * profile(y, height)
    return rows[..., :, None] * profile(x, width)[..., None, :]


def _limb_maps(
    pose: Tensor,  # [B, T, V, 3]
    visible: Tensor,  # [B, T, V]
    joint_maps: Tensor,  # [B, T, V, H, W]
    limbs: Sequence[tuple[int, int]],
    sigma: float,
) -> Tensor:  # [B, T, L, H, W]
    height, width = joint_maps.shape[-2:]
    a_index, b_index = torch.tensor(limbs, device=pose.device).unbind(-1)
    a, b = pose[:, :, a_index], pose[:, :, b_index]  # [B, T, L, 3]
    both = visible[:, :, a_index] & visible[:, :, b_index]  # [B, T, L]
    a_xy, b_xy = a[..., :2], b[..., :2]
    short = (b_xy - a_xy).detach().float().square().sum(-1) < 1  # drawn as the joint a

    x = torch.arange(width, device=pose.device, dtype=pose.dtype)
    y = torch.arange(height, device=pose.device, dtype=pose.dtype)
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)  # [H, W, 2]
    bone = (b_xy - a_xy)[..., None, None, :]  # [B, T, L, 1, 1, 2]
    from_a = pixels - a_xy[..., None, None, :]  # [B, T, L, H, W, 2]
    squared_length = torch.where(short[..., None, None], 1, bone.square().sum(-1))
    share = ((from_a * bone).sum(-1) / squared_length).clamp(0, 1)  # nearest point of the segment
    squared_distance = (from_a - share[..., None] * bone).square().sum(-1)
    values = (
        torch.exp(-squared_distance / (2 * sigma**2)) * torch.minimum(a[..., 2], b[..., 2])[..., None, None]
    )

    low, high = torch.minimum(a_xy, b_xy), torch.maximum(a_xy, b_xy)
    columns = _window(low[..., 0], high[..., 0], sigma, width)[..., None, :]
    rows = _window(low[..., 1], high[..., 1], sigma, height)[..., :, None]
    segments = torch.where(columns & rows, values, 0)
    maps = torch.where(short[..., None, None], joint_maps[:, :, a_index], segments)
    return torch.where(both[..., None, None], maps, 0)
