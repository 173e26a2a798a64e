"""X3D-shallow: depthwise bottlenecks on pose heatmaps, the light member of the family, with PYSKL's names.

Sources: Feichtenhofer, "X3D: Expanding Architectures for Efficient Video Recognition", CVPR 2020, cut down by
Duan et al., CVPR 2022: three stages, no squeeze-and-excitation, no swish. Keys of PYSKL's X3D: `conv1_s.conv`,
`conv1_t.{conv,bn}`, `layerN.i.{conv1,conv2,conv3,downsample}.{conv,bn}`, `conv5.{conv,bn}`.
"""

from collections import OrderedDict

from torch import Tensor, nn

from fastpose.models.inputs.pose_input import ImplicitHeatmaps
from fastpose.models.layers import ConvNorm, ResidualBlock, StemConvolution
from fastpose.models.pose_network import Backbone, PoseNetwork
from fastpose.models.recompute import SegmentedSequential

STEM_CHANNELS = 24
BLOCKS = (2, 5, 3)
EXPANSION = 2.25  # of a block's width, in the block and in conv5
POINT = (1, 1, 1)


def depthwise_block(in_channels: int, out_channels: int, *, downsample: bool) -> ResidualBlock:
    """Return a residual block: 1×1×1 → depthwise 3×3×3 without ReLU, halving H and W on request → 1×1×1."""
    width = int(out_channels * EXPANSION)
    stride = (1, 2, 2) if downsample else (1, 1, 1)
    return ResidualBlock(
        ConvNorm(in_channels, width, POINT),
        ConvNorm(width, width, (3, 3, 3), stride, depthwise=True, relu=False),
        ConvNorm(width, out_channels, POINT, relu=False),
        ConvNorm(in_channels, out_channels, POINT, stride, relu=False) if downsample else None,
    )


class X3D(Backbone):
    """A stem that filters space, then time, three stages of depthwise blocks, and a wide 1×1×1 layer.

    The stem and each stage halve H and W; all frames are kept.
    """

    num_features = int(STEM_CHANNELS * 2 ** (len(BLOCKS) - 1) * EXPANSION)  # 216

    def __init__(self, in_channels: int):
        super().__init__()
        spatial = StemConvolution(in_channels, STEM_CHANNELS, (1, 3, 3), (1, 2, 2))
        self.conv1_s = nn.Sequential(OrderedDict(conv=spatial))
        self.conv1_t = ConvNorm(STEM_CHANNELS, STEM_CHANNELS, (5, 1, 1), depthwise=True)
        channels, stages = STEM_CHANNELS, []
        for i, blocks in enumerate(BLOCKS):
            stage = SegmentedSequential()
            for j in range(blocks):
                out_channels = STEM_CHANNELS * 2**i
                stage.append(depthwise_block(channels, out_channels, downsample=j == 0))
                channels = out_channels
            stages.append(stage)
        self.layer1, self.layer2, self.layer3 = stages
        self.conv5 = ConvNorm(channels, self.num_features, POINT)

    def forward(self, x: Tensor | ImplicitHeatmaps) -> Tensor:
        """Map volumes [B, C, T, H, W] → [B, 216, T, ⌈H/16⌉, ⌈W/16⌉]."""
        x = self.segment(self.conv1_t, self._stem)(x)
        return self.segment(self.conv5)(self.layer3(self.layer2(self.layer1(x))))

    def _stem(self, x: Tensor | ImplicitHeatmaps) -> Tensor:
        return self.conv1_t(self.conv1_s(x))


class X3DShallow(PoseNetwork):
    """X3D-shallow; ``PoseNetwork`` says what it takes."""

    def make_backbone(self, in_channels: int) -> Backbone:
        return X3D(in_channels)
