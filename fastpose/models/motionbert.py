"""MotionBERT: DSTformer with its action head, on skeletons, with the published parameter names.

Source: Zhu et al., "MotionBERT: A Unified Perspective on Learning Human Motion Representations", ICCV 2023.
"""

from numbers import Integral, Real
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastpose.data.sampling.batch import PoseBatch
from fastpose.models.dstformer import COORDINATES, DSTformer
from fastpose.models.inputs.joint_input import JointInput
from fastpose.models.inputs.protocol import PoseModule, as_input
from fastpose.models.layers import BatchNorm, count_batch, separate_views
from fastpose.models.outputs import ModelOutput

MOTIONBERT_LITE: dict[str, Any] = {"dim_feat": 256, "mlp_ratio": 4}


class ActionHead(nn.Module):
    """Linear, batch norm, ReLU, Linear; and the pooling of tokens to their input."""

    def __init__(self, in_features: int, hidden_dim: int, num_classes: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(in_features, hidden_dim)
        self.bn = BatchNorm(hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, num_classes)

    def pool(self, representation: Tensor) -> Tensor:
        """Apply dropout, then average over persons and frames: [B, M, T, V, R] → [B, V·R], in fc1's dtype."""
        return self.dropout(representation).mean((1, 2), dtype=self.fc1.weight.dtype).flatten(1)

    def forward(self, features: Tensor) -> Tensor:
        """Map features [B, V·R] → logits [B, K]."""
        count_batch(self)
        return self.fc2(self.bn(self.fc1(features), relu=True))

    def reset_parameters(self) -> None:
        for layer in (self.fc1, self.bn, self.fc2):
            layer.reset_parameters()


class MotionBERT(PoseModule):
    """MotionBERT for action recognition, 3D poses and motion embeddings.

    Args:
        num_classes: K.
        num_keypoints: V, of the model. Default: as many as its joints are.
        dim_feat: width of the tokens, a multiple of ``num_heads``.
        dim_rep: R, width of the representation.
        depth: pairs of spatial and temporal layers in each of the two streams.
        num_heads: attention heads of a layer.
        mlp_ratio: width of the hidden feed-forward layers, in units of ``dim_feat``.
        maxlen: most frames of a clip.
        hidden_dim: width of the action head, and of ``embed``.
        dropout: probability, of the representation before pooling.
        input: "skeleton": the only one this model has.
        max_persons: M of ``prepare_input``; ``forward`` takes any number.
        input_options: further arguments of ``JointInput`` (layout, joints, size, published).
    """

    pose_input: JointInput
    backbone: DSTformer
    head: "ActionHead"
    maxlen: int
    head_prefix = "head."
    input_type = JointInput
    takes_images = False

    def __init__(
        self,
        *,
        num_classes: int,
        num_keypoints: int | None = None,
        dim_feat: int = 512,
        dim_rep: int = 512,
        depth: int = 5,
        num_heads: int = 8,
        mlp_ratio: float = 2,
        maxlen: int = 243,
        hidden_dim: int = 2048,
        dropout: float = 0.5,
        input: str = "skeleton",
        max_persons: int = 2,
        **input_options: Any,
    ):
        super().__init__()
        if input != "skeleton":
            raise ValueError(f"MotionBERT takes the skeleton input only, got input = {input!r}")
        self.pose_input = JointInput(max_persons=max_persons, **input_options)
        if num_keypoints is None:
            num_keypoints = self.pose_input.num_keypoints
        elif num_keypoints != self.pose_input.num_keypoints:
            raise ValueError(
                f"the input has {self.pose_input.num_keypoints} keypoints (joints = "
                f"{self.pose_input.joints!r}), but num_keypoints is {num_keypoints}"
            )
        _check_options(
            num_classes=num_classes,
            dim_feat=dim_feat,
            dim_rep=dim_rep,
            depth=depth,
            num_heads=num_heads,
            maxlen=maxlen,
            hidden_dim=hidden_dim,
        )
        if dim_feat % num_heads:
            raise ValueError(f"dim_feat must be a multiple of num_heads = {num_heads}, got {dim_feat}")
        if not isinstance(mlp_ratio, Real) or int(dim_feat * mlp_ratio) < 1:
            raise ValueError(f"mlp_ratio must leave hidden layers of at least one unit, got {mlp_ratio!r}")
        if not isinstance(dropout, Real) or not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout!r}")
        self.num_classes = num_classes
        self.num_keypoints = num_keypoints
        self.maxlen = maxlen
        self.backbone = DSTformer(
            num_joints=num_keypoints,
            dim_feat=dim_feat,
            dim_rep=dim_rep,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            maxlen=maxlen,
        )
        self.head = ActionHead(num_keypoints * dim_rep, hidden_dim, num_classes, dropout)

    def reset_parameters(self) -> None:
        """Initialise as published."""
        self.backbone.reset_parameters()
        self.reset_head()

    def reset_head(self) -> None:
        """Initialise the action head, as torch does its layers."""
        self.head.reset_parameters()

    def separate_views(self, views: int) -> bool:
        """Let batches hold ``views`` views of each clip one after another, as ``PoseModule`` says."""
        return separate_views(self, views)

    def prepare_input(self, batch: Any) -> Tensor:
        """Return the input [B, M, T, V, 3] of a ``PoseBatch`` or of keypoints; see ``JointInput``."""
        return self.pose_input.prepare(batch)

    def dense_input(
        self, batch: Any, dtype: torch.dtype = torch.float32, out: Tensor | None = None
    ) -> Tensor:
        """Return the same input: what exported programs take."""
        return self.pose_input.dense(batch, dtype, out)

    def forward(self, x: Tensor | PoseBatch) -> ModelOutput:
        """Map motions → ``ModelOutput`` of logits [B, K] and features [B, V·R], the input of ``head.fc1``.

        Args:
            x: floating point [B, M, T, V, 3]: x, y in [−1, 1] and score; any M, and T up to ``maxlen``. Or a
                ``PoseBatch``.

        Raises:
            ValueError: x is of another shape or dtype.
        """
        joints: Tensor = as_input(self, x)
        features = self.head.pool(self.representation(joints))  # [B, V·R]
        with torch.autocast(joints.device.type, enabled=False):
            return ModelOutput(self.head(features), features)

    def representation(self, x: Tensor) -> Tensor:
        """Map motions [B, M, T, V, 3] → what the backbone makes of every joint, [B, M, T, V, R]."""
        self._check(x)
        return self.backbone(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def pose3d(self, x: Tensor) -> Tensor:
        """Lift motions [B, M, T, V, 3] to poses in 3D, [B, M, T, V, 3]."""
        return self.backbone.head(self.representation(x))

    def embed(self, x: Tensor) -> Tensor:
        """Map motions [B, M, T, V, 3] → embeddings of length 1, [B, hidden_dim]: ``head.fc1``, normalised."""
        features = self.head.pool(self.representation(x))
        with torch.autocast(x.device.type, enabled=False):
            return F.normalize(self.head.fc1(features), dim=-1)

    def _check(self, x: Tensor) -> None:
        if (
            x.dim() != 5
            or x.shape[3:] != (self.num_keypoints, COORDINATES)
            or 0 in x.shape
            or not x.is_floating_point()
        ):
            raise ValueError(
                f"the input of this model is floating-point [B, M, T, {self.num_keypoints}, {COORDINATES}], "
                f"got {x.dtype} {tuple(x.shape)}"
            )
        if x.shape[2] > self.maxlen:
            raise ValueError(f"this model takes at most {self.maxlen} frames, got {x.shape[2]}")


def _check_options(**counts: Any) -> None:
    for name, value in counts.items():
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} must be a positive whole number, got {value!r}")
