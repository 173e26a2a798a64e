"""C3D-light: six plain 3×3×3 convolutions on pose heatmaps, with PYSKL's parameter names.

Sources: Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015, lightened
by Duan et al., CVPR 2022; keys of PYSKL's C3D: `conv1a.{conv,bn}`, …, `conv4b.{conv,bn}`.
"""

import torch.nn.functional as F
from torch import Tensor

from fastpose.models.inputs.pose_input import ImplicitHeatmaps
from fastpose.models.layers import ConvNorm, StemConvolution
from fastpose.models.pose_network import Backbone, PoseNetwork

KERNEL = (3, 3, 3)


class C3D(Backbone):
    """Four stages that keep the frames, between them averages over 2×2 pixels."""

    num_features = 256

    def __init__(self, in_channels: int):
        super().__init__()
        self.conv1a = ConvNorm(in_channels, 32, KERNEL, convolution=StemConvolution)
        self.conv2a = ConvNorm(32, 64, KERNEL)
        self.conv3a = ConvNorm(64, 128, KERNEL)
        self.conv3b = ConvNorm(128, 128, KERNEL)
        self.conv4a = ConvNorm(128, 256, KERNEL)
        self.conv4b = ConvNorm(256, self.num_features, KERNEL)

    def forward(self, x: Tensor | ImplicitHeatmaps) -> Tensor:
        """Map volumes [B, C, T, H, W] → [B, 256, T, max(⌊H/8⌋, 1), max(⌊W/8⌋, 1)]."""
        x = self._segment_halved(self.conv1a, x)
        x = self._segment_halved(self.conv2a, x)
        x = self._segment_halved(self.conv3b, self.segment(self.conv3a)(x))
        return self.segment(self.conv4b)(self.segment(self.conv4a)(x))

    def _segment_halved(self, layer: ConvNorm, x: Tensor | ImplicitHeatmaps) -> Tensor:
        return self.segment(layer, lambda x: halve(layer(x)))(x)


def halve(x: Tensor) -> Tensor:
    """Average 2×2 pixels of [B, C, T, H, W]; a side of one pixel stays, an odd one loses its last."""
    return F.avg_pool3d(x, (1, min(2, x.shape[3]), min(2, x.shape[4])))


class C3DLight(PoseNetwork):
    """C3D-light; ``PoseNetwork`` says what it takes."""

    def make_backbone(self, in_channels: int) -> Backbone:
        return C3D(in_channels)
