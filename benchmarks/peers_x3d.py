"""What users run today to train X3D-shallow: plain modules in fp32, as PYSKL configures the network.

Source: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022; Feichtenhofer, "X3D", CVPR 2020.
"""

import torch
from torch import Tensor, nn


def conv_bn(channels: int, width: int, kernel=(1, 1, 1), stride=(1, 1, 1), groups: int = 1) -> nn.Sequential:
    padding = tuple(side // 2 for side in kernel)
    return nn.Sequential(
        nn.Conv3d(channels, width, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm3d(width)
    )


class Block(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        inner = int(2.25 * width)
        space = (1, stride, stride)
        self.expand = conv_bn(channels, inner)
        self.depthwise = conv_bn(inner, inner, (3, 3, 3), space, groups=inner)
        self.reduce = conv_bn(inner, width)
        match = channels == width and stride == 1
        self.shortcut = nn.Identity() if match else conv_bn(channels, width, stride=space)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.depthwise(torch.relu(self.expand(x))))
        return torch.relu(self.reduce(y) + self.shortcut(x))


class X3DShallow(nn.Module):
    """Volumes [B, C, T, H, W] → logits [B, K]."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(channels, 24, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False),
            conv_bn(24, 24, (5, 1, 1), groups=24),
            nn.ReLU(),
        )
        blocks, before = [], 24
        for width, count in ((24, 2), (48, 5), (96, 3)):
            for i in range(count):
                blocks.append(Block(before, width, 2 if i == 0 else 1))
                before = width
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(conv_bn(96, 216), nn.ReLU())
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(216, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.last(self.blocks(self.stem(x))).mean((2, 3, 4)))
