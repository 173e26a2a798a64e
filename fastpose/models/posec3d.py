"""PoseConv3D: SlowOnly-R50 on stacks of pose heatmaps, as PYSKL configures it, with PYSKL's parameter names.

Source: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022.
"""

from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from fastpose.models.center_taps import forward_center_taps
from fastpose.models.inputs import PoseInput, keypoints_of
from fastpose.models.outputs import ModelOutput

STEM_CHANNELS = 32
EXPANSION = 4
BLOCKS = (4, 6, 3)
INFLATED = (False, True, True)
SPATIAL_STRIDES = (2, 2, 2)
TEMPORAL_STRIDES = (1, 1, 2)
NUM_FEATURES = STEM_CHANNELS * 2 ** (len(BLOCKS) - 1) * EXPANSION  # 512

Size3 = tuple[int, int, int]


class BatchNorm(nn.BatchNorm3d):
    """Batch norm of volumes [B, C, T, H, W] or of rows [N, C]."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 5):
            raise ValueError(f"expected [B, C, T, H, W] or [N, C], got {tuple(input.shape)}")


class ConvNorm(nn.Module):
    """Convolution without bias, then batch norm, then ReLU on request."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Size3,
        stride: Size3 = (1, 1, 1),
        *,
        relu: bool = True,
    ):
        super().__init__()
        padding = tuple(k // 2 for k in kernel)
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = BatchNorm(out_channels)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return x.relu_() if self.relu else x


class Bottleneck(nn.Module):
    """Residual block: 1×1×1 (3×1×1 where inflated) → 1×3×3 with both strides → 1×1×1."""

    def __init__(self, in_channels: int, width: int, stride: Size3, *, inflated: bool, downsample: bool):
        super().__init__()
        out_channels = width * EXPANSION
        self.conv1 = ConvNorm(in_channels, width, (3, 1, 1) if inflated else (1, 1, 1))
        self.conv2 = ConvNorm(width, width, (1, 3, 3), stride)
        self.conv3 = ConvNorm(width, out_channels, (1, 1, 1), relu=False)
        self.downsample = (
            ConvNorm(in_channels, out_channels, (1, 1, 1), stride, relu=False) if downsample else None
        )

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        return self.conv3(self.conv2(self.conv1(x))).add_(identity).relu_()


class SlowOnly(nn.Module):
    """Three stages of bottlenecks behind a stem that keeps the resolution."""

    def __init__(self, in_channels: int):
        super().__init__()
        self.conv1 = ConvNorm(in_channels, STEM_CHANNELS, (1, 7, 7))
        self.maxpool = nn.MaxPool3d((1, 3, 3), stride=1, padding=(0, 1, 1))
        channels, width = STEM_CHANNELS, STEM_CHANNELS
        stages = []
        for blocks, inflated, space, time in zip(
            BLOCKS, INFLATED, SPATIAL_STRIDES, TEMPORAL_STRIDES, strict=True
        ):
            stage = nn.Sequential()
            for i in range(blocks):
                stride = (time, space, space) if i == 0 else (1, 1, 1)
                stage.append(Bottleneck(channels, width, stride, inflated=inflated, downsample=i == 0))
                channels = width * EXPANSION
            stages.append(stage)
            width *= 2
        self.layer1, self.layer2, self.layer3 = stages

    def forward(self, x: Tensor) -> Tensor:
        """Volumes [B, C, T, H, W] → [B, 512, T', H', W']."""
        return self.layer3(self.layer2(self.layer1(self.maxpool(self.conv1(x)))))


class ClassifierHead(nn.Module):
    """Dropout and a linear layer."""

    def __init__(self, num_classes: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc_cls = nn.Linear(NUM_FEATURES, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc_cls(self.dropout(features))


class PoseConv3D(nn.Module):
    """PoseConv3D for one of four inputs.

    Args:
        input: "heatmap" (one channel per keypoint), "grayscale" (one channel), "limb" (one channel per limb
            of ``layout``) or "skeleton" (coordinates as channels of a 1×1 image).
        num_classes: K.
        num_keypoints: V.
        max_persons: M, skeleton only: the other inputs merge any number of persons.
        score_channel: skeleton only: channels per keypoint are x, y, score instead of x, y.
        dropout: probability, before the linear layer.
        input_options: further arguments of ``fastpose.models.prepare_input`` (layout, size, sigma,
            joint_merge, normalize, duplicate_person), for this model's method of that name.
    """

    head_prefix = "cls_head."

    def __init__(
        self,
        *,
        input: str,
        num_classes: int,
        num_keypoints: int = 17,
        max_persons: int = 2,
        score_channel: bool = False,
        dropout: float = 0.5,
        **input_options: Any,
    ):
        super().__init__()
        for name, value in {"num_classes": num_classes, "num_keypoints": num_keypoints}.items():
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name} must be a positive whole number, got {value!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout!r}")
        self.num_classes = num_classes
        self.num_keypoints = num_keypoints
        self.pose_input = PoseInput(
            input=input, max_persons=max_persons, score_channel=score_channel, **input_options
        )
        layout = self.pose_input.layout
        if layout is not None and layout.num_joints != num_keypoints:
            raise ValueError(
                f"layout {layout.name!r} has {layout.num_joints} joints, but num_keypoints is {num_keypoints}"
            )
        self.in_channels = self.pose_input.num_channels(num_keypoints)
        self.backbone = SlowOnly(self.in_channels)
        self.cls_head = ClassifierHead(num_classes, dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as PYSKL does; each residual branch starts as zero."""
        for module in self.backbone.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BatchNorm):
                module.reset_parameters()
        for module in self.backbone.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.conv3.bn.weight)
        self.reset_head()

    def reset_head(self) -> None:
        """Initialise the linear layer: weights N(0, 0.01²), bias 0."""
        nn.init.normal_(self.cls_head.fc_cls.weight, std=0.01)
        nn.init.zeros_(self.cls_head.fc_cls.bias)

    def prepare_input(
        self, batch: Any, dtype: torch.dtype = torch.float32, out: Tensor | None = None
    ) -> Tensor:
        """Input of this model from a ``PoseBatch`` or keypoints [B, M, T, V, 3]; see that function."""
        keypoints = keypoints_of(batch)
        if keypoints.shape[3] != self.num_keypoints:
            raise ValueError(
                f"this model takes {self.num_keypoints} keypoints, got {keypoints.shape[3]} in "
                f"{tuple(keypoints.shape)} [B, M, T, V, 3]"
            )
        return self.pose_input.prepare(keypoints, dtype, out)

    def forward(self, x: Tensor) -> ModelOutput:
        """Volumes [B, C, T, H, W] → ``ModelOutput`` of logits [B, K] and pooled features [B, 512].

        A 1×1 image (the skeleton input) computes centre taps only, which is exact.

        Raises:
            ValueError: x is not a floating-point volume with this model's channels.
        """
        self._check(x)
        if x.shape[3:] == (1, 1):
            x = forward_center_taps(self.backbone, x[..., 0, 0])  # [T', B, 512]
            pooled_dims = (0,)
        else:
            x = self.backbone(x)  # [B, 512, T', H', W']
            pooled_dims = (2, 3, 4)
        weight = self.cls_head.fc_cls.weight
        features = x.mean(pooled_dims, dtype=weight.dtype)  # [B, 512]
        with torch.autocast(x.device.type, enabled=False):
            return ModelOutput(self.cls_head(features), features)

    def _check(self, x: Tensor) -> None:
        kind, skeleton = self.pose_input.input, self.pose_input.input == "skeleton"
        if (
            x.dim() != 5
            or x.shape[1] != self.in_channels
            or 0 in x.shape
            or not x.is_floating_point()
            or (skeleton and x.shape[3:] != (1, 1))
        ):
            raise ValueError(
                f"the {kind} input of this model is floating-point [B, {self.in_channels}, T, "
                f"{'1, 1' if skeleton else 'H, W'}], got {x.dtype} {tuple(x.shape)}"
            )
