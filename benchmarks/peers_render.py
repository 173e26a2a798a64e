"""What users run today to render: a NumPy generator of one joint at a time, and the dense torch formula.

The first restates how PYSKL's GeneratePoseTarget works: for each frame, joint
and person a small patch of the Gaussian, merged by maximum into a zeroed float32 map.
"""

import numpy as np
import torch

MIN_SCORE = 1e-3


def paint_joint(canvas: np.ndarray, centres: np.ndarray, scores: np.ndarray, sigma: float) -> None:
    """Merge the persons' Gaussians ([M, 2] centres, [M] scores) into one map [H, W]."""
    height, width = canvas.shape
    reach = 3 * sigma
    for centre, score in zip(centres, scores, strict=True):
        if score < MIN_SCORE:
            continue
        centre_x, centre_y = centre[0], centre[1]
        left, right = max(int(centre_x - reach), 0), min(int(centre_x + reach) + 1, width)
        top, bottom = max(int(centre_y - reach), 0), min(int(centre_y + reach) + 1, height)
        if left >= right or top >= bottom:
            continue
        columns = np.arange(left, right, 1, np.float32)
        rows = np.arange(top, bottom, 1, np.float32)[:, None]
        patch = score * np.exp(-((columns - centre_x) ** 2 + (rows - centre_y) ** 2) / 2 / sigma**2)
        target = canvas[top:bottom, left:right]
        np.maximum(target, patch, out=target)


def heatmaps(poses: np.ndarray, size: tuple[int, int], sigma: float = 0.6) -> np.ndarray:
    """One clip [M, T, V, 3] to float32 [T, V, H, W]."""
    _, num_frames, num_joints, _ = poses.shape
    maps = np.zeros((num_frames, num_joints, *size), np.float32)
    for frame in range(num_frames):
        for joint in range(num_joints):
            paint_joint(maps[frame, joint], poses[:, frame, joint, :2], poses[:, frame, joint, 2], sigma)
    return maps


def paint_limb(canvas: np.ndarray, starts: np.ndarray, ends: np.ndarray, sigma: float) -> None:
    """Merge the persons' limbs, from [M, 3] to [M, 3] keypoints, into one map [H, W]."""
    height, width = canvas.shape
    reach = 3 * sigma
    for start, end in zip(starts, ends, strict=True):
        score = min(start[2], end[2])
        if score < MIN_SCORE:
            continue
        a, b = start[:2], end[:2]
        squared_length = ((b - a) ** 2).sum()
        if squared_length < 1:
            paint_joint(canvas, a[None], start[2:], sigma)
            continue
        low, high = np.minimum(a, b), np.maximum(a, b)
        left, right = max(int(low[0] - reach), 0), min(int(high[0] + reach) + 1, width)
        top, bottom = max(int(low[1] - reach), 0), min(int(high[1] + reach) + 1, height)
        if left >= right or top >= bottom:
            continue
        x = np.arange(left, right, 1, np.float32) - a[0]
        y = (np.arange(top, bottom, 1, np.float32) - a[1])[:, None]
        bone_x, bone_y = b - a
        share = np.clip((x * bone_x + y * bone_y) / squared_length, 0, 1)
        squared_distance = (x - share * bone_x) ** 2 + (y - share * bone_y) ** 2
        target = canvas[top:bottom, left:right]
        np.maximum(target, score * np.exp(-squared_distance / 2 / sigma**2), out=target)


def limb_maps(
    poses: np.ndarray, size: tuple[int, int], limbs: list[tuple[int, int]], sigma: float = 0.6
) -> np.ndarray:
    """One clip [M, T, V, 3] to float32 [T, L, H, W]."""
    num_frames = poses.shape[1]
    maps = np.zeros((num_frames, len(limbs), *size), np.float32)
    for frame in range(num_frames):
        for index, (a, b) in enumerate(limbs):
            paint_limb(maps[frame, index], poses[:, frame, a], poses[:, frame, b], sigma)
    return maps


def dense_heatmaps(poses: torch.Tensor, size: tuple[int, int], sigma: float = 0.6) -> torch.Tensor:
    """The product of both axes' Gaussians on every pixel, without windows: [B, M, T, V, 3] to [B, V, T, H, W]."""
    x, y, score = poses.unbind(-1)  # [B, M, T, V]
    columns = torch.exp(-((torch.arange(size[1], device=poses.device) - x[..., None]) ** 2) / (2 * sigma**2))
    rows = score[..., None] * torch.exp(
        -((torch.arange(size[0], device=poses.device) - y[..., None]) ** 2) / (2 * sigma**2)
    )
    maps = rows[..., :, None] * columns[..., None, :]  # [B, M, T, V, H, W]
    maps = maps[:, 0] if maps.shape[1] == 1 else maps.amax(1)
    return maps.transpose(1, 2)
