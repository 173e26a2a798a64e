"""Keypoints to heatmaps, limb maps and grayscale maps."""

from fastpose.ops.heatmap.op import render_heatmaps

__all__ = ["render_heatmaps"]
