"""What users run today to train: SlowOnly in fp32, fed clip by clip by NumPy transforms.

A re-statement of the network as PYSKL configures it (4, 6, 3 bottlenecks, base 32), with plain modules, and of
its data pipeline from the other peers.
"""

import numpy as np
import peers_render
import peers_sample
import torch
from torch import Tensor, nn

SIZE = (56, 56)


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


def crop_to_centre_taps(model: nn.Module) -> None:
    """Keep of each kernel what a volume of one pixel meets: its centre in space."""
    for conv in model.modules():
        if isinstance(conv, nn.Conv3d):
            height, width = conv.kernel_size[1:]
            taps = conv.weight[..., height // 2, width // 2].detach().clone()
            conv.weight = nn.Parameter(taps[..., None, None])
            conv.kernel_size, conv.padding = (conv.kernel_size[0], 1, 1), (conv.padding[0], 0, 0)


def load_batch(
    clips: list[dict], kind: str, flip_index: np.ndarray, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Run the data pipeline on annotations: inputs of ``kind`` and labels.

    Heatmaps are [B, V, 24, 56, 56], their sums over the joints [B, 1, 24, 56, 56] ("grayscale"), coordinates in
    [-1, 1] [B, M·V·2, 24, 1, 1] ("skeleton").
    """
    inputs = []
    for clip in clips:
        poses = peers_sample.pipeline(clip, 24, flip_index, 0.0, rng)  # [M, T, V, 3]
        if kind == "skeleton":
            points = poses[..., :2].transpose(0, 2, 3, 1) * 2 / (SIZE[0] - 1) - 1  # [M, V, 2, T]
            inputs.append(points.reshape(-1, points.shape[-1], 1, 1).astype(np.float32))
        else:
            maps = peers_render.heatmaps(poses, SIZE).transpose(1, 0, 2, 3)
            inputs.append(maps.sum(0, keepdims=True) if kind == "grayscale" else maps)
    return torch.from_numpy(np.stack(inputs)), torch.tensor([clip["label"] for clip in clips])
