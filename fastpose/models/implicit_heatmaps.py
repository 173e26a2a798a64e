"""Heatmaps known by their keypoints alone: what a first convolution takes that never draws them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from fastpose.models.inputs import PoseInput


@dataclass(frozen=True, slots=True)
class ImplicitHeatmaps:
    """What ``pose_input`` would draw of ``keypoints``; stands for a volume [B, C, T, H, W] before a convolution."""

    keypoints: Tensor  # [B, M, T, V, 3]
    pose_input: "PoseInput"

    @property
    def shape(self) -> tuple[int, ...]:
        """[B, C, T, H, W] of the heatmaps."""
        return self.pose_input.shape(self.keypoints)

    @property
    def device(self) -> torch.device:
        return self.keypoints.device

    @property
    def dtype(self) -> torch.dtype:
        return self.keypoints.dtype

    def convolve(self, weight: Tensor, stride: tuple[int, int, int], padding: tuple[int, int, int]) -> Tensor:
        """Their convolution with ``weight`` [O, C, kT, kH, kW]: [B, O, T', H', W'], in autocast's dtype."""
        from fastpose.ops import pose_stem

        settings = self.pose_input
        return pose_stem(
            self.keypoints,
            weight,
            size=settings.size,
            sigma=settings.sigma,
            mode=settings.input,
            stride=stride,
            padding=padding,
            limbs=settings.layout.limbs if settings.input == "limb" else None,
            joint_merge=settings.joint_merge,
        )
