"""What the members of the PoseConv3D family share: four inputs, checks, average pooling, a linear head.

Source: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022, and its code, PYSKL: a state
dict holds `backbone.*` and `cls_head.fc_cls.{weight,bias}`, as PYSKL's Recognizer3D with an I3DHead names them.
"""

from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from fastpose.data.sampling.batch import PoseBatch
from fastpose.models.inputs.pose_input import INPUTS, ImplicitHeatmaps, PoseInput, keypoints_of
from fastpose.models.inputs.protocol import PoseModule, as_input
from fastpose.models.layers import BatchNorm, ResidualBlock, count_batch, separate_views
from fastpose.models.outputs import ModelOutput
from fastpose.models.recompute import Segmented


class ClassifierHead(nn.Module):
    """Dropout and a linear layer."""

    def __init__(self, num_features: int, num_classes: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc_cls = nn.Linear(num_features, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc_cls(self.dropout(features))


class Backbone(Segmented):
    """A module [B, C, T, H, W] → [B, D, T', H', W']."""

    num_features: int  # D


class PoseNetwork(PoseModule):
    """A 3D convolutional backbone with its classifier, for one of four inputs.

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

    pose_input: PoseInput
    head_prefix = "cls_head."
    input_type = PoseInput
    inputs: tuple[str, ...] = INPUTS  # that the network can take

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
        if input in INPUTS and input not in self.inputs:
            taken = " and ".join(self.inputs)
            raise ValueError(f"{type(self).__name__} takes the {taken} input only, got input = {input!r}")
        self.num_classes = num_classes
        self.num_keypoints = num_keypoints
        self.pose_input = PoseInput(
            input=input, max_persons=max_persons, score_channel=score_channel, **input_options
        )
        layout = self.pose_input.fed
        if layout is not None and layout.num_joints != num_keypoints:
            raise ValueError(
                f"layout {layout.name!r} has {layout.num_joints} joints, but num_keypoints is {num_keypoints}"
            )
        self.in_channels = self.pose_input.num_channels(num_keypoints)
        self.backbone = self.make_backbone(self.in_channels)
        self.num_features = self.backbone.num_features
        self.cls_head = ClassifierHead(self.num_features, num_classes, dropout)
        self.reset_parameters()

    def make_backbone(self, in_channels: int) -> Backbone:
        """Return the module [B, in_channels, T, H, W] → [B, D, T', H', W']."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Initialise as PYSKL does; each residual branch starts as zero."""
        for module in self.backbone.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BatchNorm | nn.Linear):
                module.reset_parameters()
        for module in self.backbone.modules():
            if isinstance(module, ResidualBlock):
                nn.init.zeros_(module.conv3.bn.weight)
        self.reset_head()

    def reset_head(self) -> None:
        """Initialise the linear layer: weights N(0, 0.01²), bias 0."""
        nn.init.normal_(self.cls_head.fc_cls.weight, std=0.01)
        nn.init.zeros_(self.cls_head.fc_cls.bias)

    @property
    def takes_images(self) -> bool:
        """Whether the input is volumes of more than one pixel."""
        return self.pose_input.takes_images

    def prepare_input(self, batch: Any) -> Tensor | ImplicitHeatmaps:
        """Return the input of a ``PoseBatch`` or of keypoints [B, M, T, V, 3], in the form that is fast.

        Heatmaps that need not be drawn are not: their first convolution is computed from the keypoints.
        """
        return self.pose_input.prepare(self._checked(batch), self.cls_head.fc_cls.weight.dtype)

    def dense_input(
        self, batch: Any, dtype: torch.dtype = torch.float32, out: Tensor | None = None
    ) -> Tensor:
        """Return the same input as one tensor: what exported programs take, and what can be looked at."""
        return self.pose_input.dense(self._checked(batch), dtype, out)

    def separate_views(self, views: int) -> bool:
        """Let batches hold ``views`` views of each clip one after another, as ``PoseModule`` says."""
        return separate_views(self, views)

    def forward(self, x: Tensor | ImplicitHeatmaps | PoseBatch) -> ModelOutput:
        """Return logits [B, K] and pooled features [B, D].

        Args:
            x: what ``prepare_input`` or ``dense_input`` returns, volumes [B, C, T, H, W]; or a ``PoseBatch``.

        Raises:
            ValueError: x is not a floating-point volume with this model's channels.
        """
        volume: Tensor = as_input(self, x)  # or ImplicitHeatmaps, which the first convolution takes
        self.pose_input.check(volume, self.in_channels)
        dtype = self.cls_head.fc_cls.weight.dtype
        count_batch(self.backbone)
        if self.takes_images:
            features = self.backbone(volume).mean((2, 3, 4), dtype=dtype)  # accumulated in dtype
        else:
            features = self.point_features(volume, dtype)
        with torch.autocast(volume.device.type, enabled=False):
            return ModelOutput(self.cls_head(features), features)

    def point_features(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Return means [B, D] of the backbone's output for 1×1 images, accumulated in ``dtype``."""
        return self.backbone(x).mean((2, 3, 4), dtype=dtype)

    def _checked(self, batch: Any) -> Any:
        keypoints = keypoints_of(batch)
        if keypoints.shape[3] != self.num_keypoints:
            raise ValueError(
                f"this model takes {self.num_keypoints} keypoints, got {keypoints.shape[3]} in "
                f"{tuple(keypoints.shape)} [B, M, T, V, 3]"
            )
        return batch
