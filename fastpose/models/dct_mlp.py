"""The slow part of every channel's trajectory, by its cosine transform, and two hidden layers: for skeletons.

Source of the features: Akhter et al., "Nonrigid Structure from Motion in Trajectory Space", NIPS 2008, which describes
the paths of points by the first coefficients of the discrete cosine transform.
"""

import math

import torch
from torch import Tensor, nn

from fastpose.models.layers import BatchNorm
from fastpose.models.pose_network import Backbone, PoseNetwork

COEFFICIENTS = 12  # of each channel
WIDTH = 256
LEAST_VARIANCE = 1e-3  # of a coefficient: a deviation of 0.03, one pixel of 56 in coordinates from -1 to 1


def cosine_transform(x: Tensor, count: int) -> Tensor:
    """Return the first ``count`` orthonormal DCT-II coefficients of [..., T] along T; those from T on are 0.

    The cosines are made on the device of x, from its shape, so that programs can leave T open. Products are in float32,
    or float64 where x is.
    """
    frames, dtype = x.shape[-1], torch.promote_types(x.dtype, torch.float32)
    order = torch.arange(count, device=x.device, dtype=dtype)
    time = torch.arange(frames, device=x.device, dtype=dtype) + 0.5
    power = ((order < frames) * (1 + (order > 0))).to(dtype) / frames
    waves = torch.cos(torch.outer(time, order) * (math.pi / frames)) * power.sqrt()  # [T, count]
    with torch.autocast(x.device.type, enabled=False):
        return (x.to(dtype) @ waves).to(x.dtype)


class HiddenLayer(nn.Module):
    """Dropout, a linear layer, batch norm, ReLU."""

    def __init__(self, in_features: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_features, WIDTH, bias=False)
        self.bn = BatchNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.fc(self.dropout(x)), relu=True)


class TrajectoryMLP(Backbone):
    """Coefficients, standardised by those of the clips trained on, and two hidden layers."""

    num_features = WIDTH

    def __init__(self, in_channels: int):
        super().__init__()
        # The least variance keeps a joint that is absent for once from counting more than all that moves.
        self.norm = BatchNorm(in_channels * COEFFICIENTS, eps=LEAST_VARIANCE, affine=False)
        self.hidden = nn.Sequential(
            HiddenLayer(in_channels * COEFFICIENTS, dropout=0.1), HiddenLayer(WIDTH, dropout=0.2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map channels [B, C, T, 1, 1] → [B, 256]."""
        coefficients = cosine_transform(x[..., 0, 0], COEFFICIENTS).flatten(1)  # [B, C·12]
        return self.segment(self.hidden)(self.norm(coefficients))


class DctMLP(PoseNetwork):
    """A multilayer perceptron on trajectories; ``PoseNetwork`` says what it takes, of which "skeleton" alone."""

    inputs = ("skeleton",)

    def make_backbone(self, in_channels: int) -> Backbone:
        return TrajectoryMLP(in_channels)

    def point_features(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return self.backbone(x).to(dtype)
