"""What users run today to train: SlowOnly on drawn heatmaps in fp32, fed clip by clip by NumPy transforms.

A re-statement of the network as PYSKL configures it (4, 6, 3 bottlenecks, base 32), with plain modules, and of
its data pipeline from the other peers.
"""

import numpy as np
import peers_render
import peers_sample
import torch
from torch import Tensor, nn


def conv_bn(channels: int, width: int, kernel, stride=(1, 1, 1)) -> nn.Sequential:
    padding = tuple(side // 2 for side in kernel)
    return nn.Sequential(
        nn.Conv3d(channels, width, kernel, stride, padding, bias=False), nn.BatchNorm3d(width)
    )


class Block(nn.Module):
    def __init__(self, channels: int, width: int, stride, temporal: int) -> None:
        super().__init__()
        self.reduce = conv_bn(channels, width, (temporal, 1, 1))
        self.space = conv_bn(width, width, (1, 3, 3), stride)
        self.expand = conv_bn(width, 4 * width, (1, 1, 1))
        match = channels == 4 * width
        self.shortcut = nn.Identity() if match else conv_bn(channels, 4 * width, (1, 1, 1), stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(torch.relu(self.space(torch.relu(self.reduce(x)))))
        return torch.relu(y + self.shortcut(x))


class SlowOnly(nn.Module):
    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_bn(channels, 32, (1, 7, 7)), nn.ReLU(), nn.MaxPool3d((1, 3, 3), 1, (0, 1, 1))
        )
        blocks, before = [], 32
        for width, count, temporal, time in ((32, 4, 1, 1), (64, 6, 3, 1), (128, 3, 3, 2)):
            for i in range(count):
                blocks.append(Block(before, width, (time, 2, 2) if i == 0 else (1, 1, 1), temporal))
                before = 4 * width
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(512, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3, 4)))


def load_batch(clips: list[dict], flip_index: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Run the data pipeline on annotations: heatmaps [B, V, 24, 56, 56] and labels [B]."""
    volumes = []
    for clip in clips:
        poses = peers_sample.pipeline(clip, 24, flip_index, 0.0, rng)  # [M, T, V, 3]
        volumes.append(peers_render.heatmaps(poses, (56, 56)).transpose(1, 0, 2, 3))
    return torch.from_numpy(np.stack(volumes)), torch.tensor([clip["label"] for clip in clips])
