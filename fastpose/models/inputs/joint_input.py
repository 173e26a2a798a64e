"""From a batch of keypoints to joints with scores, the input of MotionBERT."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastpose.data.pack.layouts import COCO17, H36M17, Layout, conversion, get_layout
from fastpose.models.inputs.motionbert_published import (
    MAX_ANGLE,
    MAX_SHIFT,
    NUM_MOVE_DRAWS,
    SCALES,
    TEST_RATIO,
    TRAIN_RATIOS,
)
from fastpose.models.inputs.pose_input import (
    check_extent,
    check_joints,
    deliver,
    fill_persons,
    is_present,
    keypoints_of,
    scaled_coordinates,
    unit_coordinates,
)

JOINTS = ("h36m17", "own")


@dataclass(frozen=True, slots=True, kw_only=True)
class JointInput:
    """How a batch becomes joints [B, M, T, V', 3]: x, y in [-1, 1], and score.

    The clean form maps each joint of ``layout`` with its score, a joint made of several taking their mean and
    their smallest score; coordinates are 2x / (W - 1) - 1 and 2y / (H - 1) - 1, not clamped; missing joints
    and absent persons are all 0. The published form is what MotionBERT's own weights were trained on, its
    faults included; see ``fastpose.models.inputs.motionbert_published``.

    Args:
        layout: of the batch's keypoints, a ``Layout`` or the name of one; None where they are those of
            ``joints`` already.
        joints: "h36m17", MotionBERT's joints; or "own", those of ``layout``, for training from scratch.
        size: (H, W) in pixels.
        max_persons: M; a batch with fewer persons is filled up with absent ones.
        published: the published form. The batch must show the whole frame from its corner, as
            ``ClipSampler(crop="frame")`` makes it; its ``draws``, where it has them, augment it.

    Raises:
        ValueError: no conversion from ``layout`` to the joints asked for, or a setting out of range.
    """

    layout: Layout | str | None = None
    joints: str = "h36m17"
    size: tuple[int, int] = (56, 56)
    max_persons: int = 2
    published: bool = False

    def __post_init__(self) -> None:
        if self.joints not in JOINTS:
            raise ValueError(f"unknown joints {self.joints!r}; there are: {', '.join(JOINTS)}")
        check_extent(self.max_persons, self.size)
        if self.layout is not None:
            object.__setattr__(self, "layout", get_layout(self.layout))
        elif self.joints == "own":
            raise ValueError("joints = 'own' needs a layout: its joints are the model's")
        else:
            object.__setattr__(self, "layout", H36M17)
        if self.published and (self.joints == "own" or self.source not in (COCO17, H36M17)):
            raise ValueError(
                f"the published form is that of {COCO17.name!r} or {H36M17.name!r} keypoints as "
                f"{H36M17.name!r} joints, got layout {self.source.name!r} and joints = {self.joints!r}"
            )
        try:
            conversion(self.source, self.target)
        except ValueError as error:
            raise ValueError(f"{error}; --joints own trains a model of the layout's own joints") from None

    takes_images = False

    @property
    def source(self) -> Layout:
        """Layout of the batch's keypoints."""
        assert isinstance(self.layout, Layout)  # a name, or none, gave way to what it stands for
        return self.layout

    @property
    def target(self) -> Layout:
        """Layout of the model's joints."""
        return self.source if self.joints == "own" else H36M17

    @property
    def num_keypoints(self) -> int:
        """V' of the model's joints."""
        return self.target.num_joints

    @property
    def axes(self) -> dict[int, str]:
        """The axes of the input whose size a model leaves open, by what they count."""
        return {0: "batch", 1: "persons", 2: "frames"}

    def shape(self, keypoints: Tensor) -> tuple[int, ...]:
        """Return the shape of the input made from keypoints [B, M, T, V, 3]."""
        return keypoints.shape[0], self.max_persons, keypoints.shape[2], self.num_keypoints, 3

    @property
    def fed(self) -> Layout:
        """The joints that the network sees."""
        return self.target

    def misfit(self, layout: Layout, settings: Mapping[str, Any]) -> Layout | None:
        """Return the joints that an input of ``layout`` and ``settings`` is fed, where they are not this one's."""
        theirs = JointInput(layout=layout, joints=settings.get("joints", JOINTS[0])).target
        return None if theirs.joints == self.target.joints else theirs

    def prepare(self, batch: Any, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the joints, as ``dense`` does."""
        return self.dense(batch, dtype)

    def dense(self, batch: Any, dtype: torch.dtype = torch.float32, out: Tensor | None = None) -> Tensor:
        """Return the joints [B, M, T, V', 3] of a ``PoseBatch``, or of keypoints [B, M, T, V, 3] in pixels of ``size``.

        Raises:
            ValueError: keypoints of another layout, or of more persons than ``max_persons``.
        """
        keypoints = keypoints_of(batch)
        check_joints(keypoints, self.source)
        if self.published:
            joints = self._published(keypoints, getattr(batch, "draws", None))
        else:
            joints = self._clean(keypoints)
        return deliver(joints, dtype, out)

    def _clean(self, keypoints: Tensor) -> Tensor:
        keypoints = torch.where(is_present(keypoints), keypoints, 0)
        sources = conversion(self.source, self.target)
        points = unit_coordinates(merge_joints(keypoints[..., :2], sources, torch.mean), self.size)
        scores = merge_joints(keypoints[..., 2:], sources, torch.amin)
        joints = torch.where(scores > 0, torch.cat([points, scores], dim=-1), 0)  # [B, M, T, V', 3]
        return fill_persons(joints, self.max_persons)

    def _published(self, keypoints: Tensor, draws: Tensor | None) -> Tensor:
        height, width = self.size
        present = is_present(keypoints)  # [B, M, T, V, 1]
        seen = present.flatten(2).any(2)[:, :, None, None, None]
        points = scaled_coordinates(torch.where(present, keypoints[..., :2], 0), width, height)
        points = torch.where(seen, points, 0)  # an absent person lies in the middle of the frame
        points = merge_joints(points, conversion(self.source, self.target), torch.mean)
        scores = torch.where(
            present, keypoints[..., 2:], 0
        )  # in the order of the source: the published fault
        joints = fill_persons(torch.cat([points, scores], dim=-1), self.max_persons)  # [B, M, T, 17, 3]
        if draws is None:
            return crop_scale(joints, joints.new_full((len(joints),), TEST_RATIO))
        joints = random_move(joints, draws[:, :NUM_MOVE_DRAWS].to(joints.dtype))
        low, high = TRAIN_RATIOS
        return crop_scale(joints, low + (high - low) * draws[:, NUM_MOVE_DRAWS].to(joints.dtype))


def merge_joints(x: Tensor, sources: tuple[tuple[int, ...], ...], merge: Callable[..., Tensor]) -> Tensor:
    """Return joints [..., V, C] as those of another layout: each its one source, ``merge`` of several, or 0 of none."""
    joints = x.unbind(-2)

    def merged(source: tuple[int, ...]) -> Tensor:
        if len(source) == 1:
            return joints[source[0]]
        if not source:
            return torch.zeros_like(joints[0])
        return merge(torch.stack([joints[each] for each in source]), 0)

    return torch.stack([merged(source) for source in sources], dim=-2)  # [..., V', C]


def random_move(joints: Tensor, draws: Tensor) -> Tensor:
    """Return ``motionbert_published.random_move`` of joints [B, M, T, V, 3], each clip with its draws [B, 8]."""
    most = math.radians(MAX_ANGLE)
    ranges = (-most, most), SCALES, (-MAX_SHIFT, MAX_SHIFT), (-MAX_SHIFT, MAX_SHIFT)  # of angle, scale, x, y
    drawn = draws.reshape(-1, 4, 2).unbind(1)  # at the first and the last frame
    ends = torch.stack([low + (high - low) * x for (low, high), x in zip(ranges, drawn, strict=True)], dim=1)
    time = torch.linspace(0, 1, joints.shape[2], dtype=draws.dtype, device=draws.device)
    values = torch.lerp(ends[..., :1], ends[..., 1:], time)  # [B, 4, T]
    angle, scale, shift_x, shift_y = values[:, :, None, :, None].unbind(1)  # [B, 1, T, 1] each
    cos, sin = scale * angle.cos(), scale * angle.sin()
    x, y, score = joints.unbind(-1)  # [B, M, T, V] each
    return torch.stack([cos * x - sin * y + shift_x, sin * x + cos * y + shift_y, score], dim=-1)


def crop_scale(joints: Tensor, ratio: Tensor) -> Tensor:
    """Return ``motionbert_published.crop_scale`` of joints [B, M, T, V, 3], each clip with its ratio [B]."""
    points = joints[..., :2].flatten(1, 3)  # [B, n, 2]
    seen = (joints[..., 2:] != 0).flatten(1, 3)  # [B, n, 1]
    low = torch.where(seen, points, torch.inf).amin(1)  # [B, 2]
    high = torch.where(seen, points, -torch.inf).amax(1)
    side = ratio * (high - low).amax(1)  # [B]
    usable = (seen.sum((1, 2)) >= 4) & (side > 0)
    low, high, side = (each.reshape(len(joints), 1, 1, 1, -1) for each in (low, high, side))
    placed = (((joints[..., :2] - (low + high - side) / 2) / side - 0.5) * 2).clamp(-1, 1)
    placed = torch.cat([placed, joints[..., 2:]], dim=-1)
    return torch.where(usable.view(-1, 1, 1, 1, 1), placed, 0)
