"""PoseConv3D: SlowOnly-R50 on stacks of pose heatmaps, as PYSKL configures it, with PYSKL's parameter names.

Sources: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022; keys of PYSKL's
ResNet3dSlowOnly: `conv1.{conv,bn}`, `layerN.i.{conv1,conv2,conv3,downsample}.{conv,bn}`.
"""

import torch
from torch import Tensor

from fastpose.models.center_taps import forward_center_taps
from fastpose.models.inputs.pose_input import ImplicitHeatmaps
from fastpose.models.layers import ConvNorm, MaxPool, ResidualBlock, Size3, StemConvolution
from fastpose.models.pose_network import Backbone, PoseNetwork
from fastpose.models.recompute import SegmentedSequential

STEM_CHANNELS = 32
EXPANSION = 4
INFLATED = (False, True, True)
SPATIAL_STRIDES = (2, 2, 2)
TEMPORAL_STRIDES = (1, 1, 2)


def bottleneck(
    in_channels: int, width: int, stride: Size3, *, inflated: bool, downsample: bool
) -> ResidualBlock:
    """Return a residual block: 1×1×1 (3×1×1 where inflated) → 1×3×3 with both strides → 1×1×1."""
    out_channels = width * EXPANSION
    return ResidualBlock(
        ConvNorm(in_channels, width, (3, 1, 1) if inflated else (1, 1, 1)),
        ConvNorm(width, width, (1, 3, 3), stride),
        ConvNorm(width, out_channels, (1, 1, 1), relu=False),
        ConvNorm(in_channels, out_channels, (1, 1, 1), stride, relu=False) if downsample else None,
    )


class SlowOnly(Backbone):
    """Three stages of bottlenecks behind a stem that keeps the resolution.

    Args:
        in_channels: channels of the input.
        blocks: bottlenecks in each stage.
    """

    num_features = STEM_CHANNELS * 2 ** (len(INFLATED) - 1) * EXPANSION  # 512

    def __init__(self, in_channels: int, blocks: tuple[int, int, int]):
        super().__init__()
        self.conv1 = ConvNorm(in_channels, STEM_CHANNELS, (1, 7, 7), convolution=StemConvolution)
        self.maxpool = MaxPool((1, 3, 3), stride=(1, 1, 1), padding=(0, 1, 1))
        channels, width = STEM_CHANNELS, STEM_CHANNELS
        stages = []
        for count, inflated, space, time in zip(
            blocks, INFLATED, SPATIAL_STRIDES, TEMPORAL_STRIDES, strict=True
        ):
            stage = SegmentedSequential()
            for i in range(count):
                stride = (time, space, space) if i == 0 else (1, 1, 1)
                stage.append(bottleneck(channels, width, stride, inflated=inflated, downsample=i == 0))
                channels = width * EXPANSION
            stages.append(stage)
            width *= 2
        self.layer1, self.layer2, self.layer3 = stages

    def forward(self, x: Tensor | ImplicitHeatmaps) -> Tensor:
        """Map volumes [B, C, T, H, W] → [B, 512, ⌈T/2⌉, ⌈H/8⌉, ⌈W/8⌉]."""
        x = self.segment(self.conv1, self._stem)(x)
        return self.layer3(self.layer2(self.layer1(x)))

    def _stem(self, x: Tensor | ImplicitHeatmaps) -> Tensor:
        return self.maxpool(self.conv1(x))


class PoseConv3D(PoseNetwork):
    """PoseConv3D with (4, 6, 3) bottlenecks; ``PoseNetwork`` says what it takes.

    A 1×1 image (the skeleton input) computes centre taps only, which is exact.
    """

    blocks = (4, 6, 3)

    def make_backbone(self, in_channels: int) -> Backbone:
        return SlowOnly(in_channels, self.blocks)

    def point_features(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return forward_center_taps(self.backbone, x[..., 0, 0]).mean(0, dtype=dtype)


class PoseConv3DKinetics(PoseConv3D):
    """PoseConv3D with (3, 4, 6) bottlenecks, as PYSKL trains it on Kinetics-400 (slowonly_r50_346_k400)."""

    blocks = (3, 4, 6)
