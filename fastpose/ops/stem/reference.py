"""The definition: draw the maps, convolve them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fastpose.ops.heatmap.modes import HeatmapMode
from fastpose.ops.heatmap.reference import render_heatmaps_reference


def pose_stem_reference(
    keypoints: Tensor,  # [B, M, T, V, 3]
    weight: Tensor,  # [O, C, kT, kH, kW]
    size: tuple[int, int],
    sigma: float,
    mode: HeatmapMode,
    limbs: Sequence[tuple[int, int]],
    stride: tuple[int, int, int],
    padding: tuple[int, int, int],
    dtype: torch.dtype,
) -> Tensor:  # [B, O, T', H', W']
    """Return `fastpose.ops.pose_stem` on checked arguments, in float64 if a dtype is, else float32."""
    precision = torch.promote_types(torch.promote_types(keypoints.dtype, weight.dtype), torch.float32)
    precision = torch.promote_types(precision, dtype)
    maps = render_heatmaps_reference(keypoints, size, sigma, mode, limbs, precision)
    with torch.autocast(keypoints.device.type, enabled=False):
        return F.conv3d(maps, weight.to(precision), None, stride, padding).to(dtype)
