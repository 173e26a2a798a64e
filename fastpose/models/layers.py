"""Building blocks of the 3D convolutional backbones.

Attribute names (conv, bn, conv1, …, downsample) are those of PYSKL's modules, so that state dicts fit.
"""

from torch import Tensor, nn

Size3 = tuple[int, int, int]


class BatchNorm(nn.BatchNorm3d):
    """Batch norm of volumes [B, C, T, H, W] or of rows [N, C]."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 5):
            raise ValueError(f"expected [B, C, T, H, W] or [N, C], got {tuple(input.shape)}")


def convolution(
    in_channels: int,
    out_channels: int,
    kernel: Size3,
    stride: Size3 = (1, 1, 1),
    *,
    depthwise: bool = False,
) -> nn.Conv3d:
    """A convolution without bias that pads by half its kernel; ``depthwise`` filters each channel alone."""
    padding = tuple(k // 2 for k in kernel)
    groups = in_channels if depthwise else 1
    return nn.Conv3d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)


class ConvNorm(nn.Module):
    """``convolution``, then batch norm, then ReLU on request."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Size3,
        stride: Size3 = (1, 1, 1),
        *,
        depthwise: bool = False,
        relu: bool = True,
    ):
        super().__init__()
        self.conv = convolution(in_channels, out_channels, kernel, stride, depthwise=depthwise)
        self.bn = BatchNorm(out_channels)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return x.relu_() if self.relu else x


class ResidualBlock(nn.Module):
    """ReLU of three layers' output plus the input, which ``downsample`` brings to the same shape."""

    def __init__(self, conv1: ConvNorm, conv2: ConvNorm, conv3: ConvNorm, downsample: ConvNorm | None):
        super().__init__()
        self.conv1 = conv1
        self.conv2 = conv2
        self.conv3 = conv3
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        return self.conv3(self.conv2(self.conv1(x))).add_(identity).relu_()
