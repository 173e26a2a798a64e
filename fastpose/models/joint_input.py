"""From a batch of keypoints to the motions that MotionBERT takes."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastpose.data.layouts import H36M17, Layout, convert, get_layout
from fastpose.models.inputs import keypoints_of

JOINTS = ("h36m17", "own")


@dataclass(frozen=True, slots=True, kw_only=True)
class JointInput:
    """How a batch becomes motions [B, M, T, V, 3]: x, y in [−1, 1], and score; what is missing is 0.

    Args:
        layout: of the batch's keypoints; None: already the model's.
        joints: of the model: "h36m17", or "own": those of ``layout``.
        size: (H, W) of the batch's pixels.
        max_persons: M.
    """

    layout: Layout | str | None = None
    joints: str = "h36m17"
    size: tuple[int, int] = (56, 56)
    max_persons: int = 2

    def __post_init__(self) -> None:
        if self.joints not in JOINTS:
            raise ValueError(f"joints must be one of {', '.join(JOINTS)}, got {self.joints!r}")
        if self.layout is not None:
            object.__setattr__(self, "layout", get_layout(self.layout))

    @property
    def input(self) -> str:
        return "skeleton"

    @property
    def num_keypoints(self) -> int | None:
        """Joints of the model; None: any number."""
        if self.joints == "h36m17":
            return H36M17.num_joints
        return None if self.layout is None else self.layout.num_joints

    def shape(self, keypoints: Tensor) -> tuple[int, ...]:
        """Shape of the motions made from keypoints [B, M, T, V, 3]."""
        batch, _, frames, joints, _ = keypoints.shape
        return batch, self.max_persons, frames, self.num_keypoints or joints, 3

    def prepare(self, batch: Any, dtype: torch.dtype = torch.float32, out: Tensor | None = None) -> Tensor:
        """Motions from a ``PoseBatch`` or keypoints [B, M, T, V, 3] in pixels of ``size``."""
        x = keypoints_of(batch)
        if x.shape[1] > self.max_persons:
            raise ValueError(
                f"the batch has {x.shape[1]} persons per clip, the model takes {self.max_persons}"
            )
        if self.joints == "h36m17" and self.layout is not None:
            xy, score = convert(x[..., :2].cpu().numpy(), x[..., 2].cpu().numpy(), self.layout, H36M17)
            x = torch.cat([torch.from_numpy(xy), torch.from_numpy(score)[..., None]], -1).to(x.device)
        height, width = self.size
        present = (x[..., 2:] > 0) & x.isfinite().all(-1, keepdim=True)
        scale = x.new_tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1), 1])
        x = torch.where(present, x * scale - x.new_tensor([1, 1, 0]), 0)
        missing = self.max_persons - x.shape[1]
        x = torch.cat([x, x.new_zeros(x.shape[0], missing, *x.shape[2:])], 1).to(dtype)
        return x if out is None else out.copy_(x)
