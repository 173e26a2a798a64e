"""From a batch of keypoints to the input of a model."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fastpose.data.pack.layouts import Layout, get_layout
from fastpose.ops.presence import present_joints
from fastpose.system.placement import VOLUME_FORMAT

if TYPE_CHECKING:
    from typing_extensions import TypeIs

INPUTS = ("heatmap", "grayscale", "limb", "skeleton")
HEATMAPS = ("implicit", "explicit")
NOISE_LEVELS = 2  # of a PoseBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseInput:
    """How a batch becomes the input of a model; the arguments are those of ``prepare_input``.

    ``heatmaps`` says how a network sees heatmaps, limbs or grayscale images of a batch: "implicit", its first
    convolution is computed from the keypoints; or "explicit", they are drawn. With ``evidence`` the skeleton input also
    has the ``presence`` and ``noise_levels`` of a ``PoseBatch``; other inputs leave them out.
    """

    input: str
    layout: Layout | str | None = None
    max_persons: int = 2
    size: tuple[int, int] = (56, 56)
    sigma: float = 0.6
    joint_merge: str | None = None
    score_channel: bool = False
    normalize: bool = True
    duplicate_person: bool = False
    heatmaps: str = "implicit"
    evidence: bool = False

    def __post_init__(self) -> None:
        if self.input not in INPUTS:
            raise ValueError(f"unknown input {self.input!r}; there are: {', '.join(INPUTS)}")
        if self.heatmaps not in HEATMAPS:
            raise ValueError(f"heatmaps must be one of {', '.join(HEATMAPS)}, got {self.heatmaps!r}")
        if self.layout is not None:
            object.__setattr__(self, "layout", get_layout(self.layout))
        if self.input == "limb" and not (self.fed and self.fed.limbs):
            lacks = f"layout {self.fed.name!r} has none" if self.fed else "no layout is given"
            raise ValueError(f"the limb input needs a layout with limbs, and {lacks}")
        check_extent(self.max_persons, self.size)
        idle = []
        if self.input != "skeleton":
            idle += [name for name in ("score_channel", "duplicate_person") if getattr(self, name)]
            idle += [] if self.normalize else ["normalize"]
        elif self.heatmaps == "explicit":
            idle.append("heatmaps")
        if self.input != "grayscale" and self.joint_merge is not None:
            idle.append("joint_merge")
        for name in idle:
            warnings.warn(f"{name} has no effect on the {self.input} input", stacklevel=3)

    def num_channels(self, num_keypoints: int) -> int:
        """Return the number of channels of the input made from ``num_keypoints`` keypoints."""
        if self.input == "skeleton":
            coordinates = 2 + self.score_channel + self.evidence
            return self.max_persons * num_keypoints * coordinates + (NOISE_LEVELS if self.evidence else 0)
        if self.input == "limb":
            assert self.fed is not None  # as __post_init__ checks
            return len(self.fed.limbs)
        return 1 if self.input == "grayscale" else num_keypoints

    @property
    def takes_images(self) -> bool:
        """Whether it is volumes of more than one pixel."""
        return self.input != "skeleton"

    @property
    def is_implicit(self) -> bool:
        """Whether a network that is given keypoints draws nothing; joints merged by maximum have to be drawn."""
        return self.takes_images and self.heatmaps == "implicit" and self.joint_merge != "max"

    @property
    def fed(self) -> Layout | None:
        """The joints that the network sees; None where they were not named."""
        assert not isinstance(self.layout, str)  # a name gave way to what it names
        return self.layout

    @property
    def axes(self) -> dict[int, str]:
        """The axes of the input whose size a model leaves open, by what they count."""
        image = {} if self.input == "skeleton" else {3: "height", 4: "width"}
        return {0: "batch", 2: "frames", **image}

    def shape(self, keypoints: Tensor) -> tuple[int, ...]:
        """Return the shape of the input made from keypoints [B, M, T, V, 3]."""
        batch, _, frames, joints, _ = keypoints.shape
        size = (1, 1) if self.input == "skeleton" else self.size
        return batch, self.num_channels(joints), frames, *size

    def prepare(self, batch: Any, dtype: torch.dtype = torch.float32) -> "Tensor | ImplicitHeatmaps":
        """Return coordinates [B, channels, T, 1, 1]; or images, drawn only where their convolution needs that.

        Drawn ones have autocast's dtype where it is on, and ``VOLUME_FORMAT``.
        """
        if self.is_implicit:
            return ImplicitHeatmaps(self._checked(batch), self)
        if not self.takes_images:
            return self.dense(batch, dtype)
        device = keypoints_of(batch).device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        return self._drawn(self._checked(batch), dtype, None, VOLUME_FORMAT)

    def misfit(self, layout: Layout, settings: Mapping[str, Any]) -> Layout | None:
        """Return ``layout`` where its joints, or the limbs that the network sees, are not those of this input."""
        own = self.fed
        if own is None:
            return None
        same = layout.joints == own.joints and (self.input != "limb" or layout.limbs == own.limbs)
        return None if same else layout

    def check(self, x: "Tensor | ImplicitHeatmaps", channels: int) -> None:
        """Raise ValueError unless x is a floating-point volume of this kind with so many channels."""
        if (
            len(x.shape) != 5
            or x.shape[1] != channels
            or 0 in x.shape
            or not x.dtype.is_floating_point
            or not (self.takes_images or x.shape[3:] == (1, 1))
        ):
            raise ValueError(
                f"the {self.input} input of this model is floating-point [B, {channels}, T, "
                f"{'H, W' if self.takes_images else '1, 1'}], got {x.dtype} {tuple(x.shape)}"
            )

    def dense(self, batch: Any, dtype: torch.dtype = torch.float32, out: Tensor | None = None) -> Tensor:
        """Return the input [B, channels, T, H, W] or [B, channels, T, 1, 1], drawn; see ``prepare_input``."""
        keypoints = self._checked(batch)
        if not self.takes_images:
            return self._skeleton(keypoints, self._evidence(batch), dtype, out)
        return self._drawn(keypoints, dtype, out, None)

    @property
    def drawing(self) -> dict[str, Any]:
        """What is drawn, as arguments of ``fastpose.ops.render_heatmaps`` and ``fastpose.ops.pose_stem``."""
        return {
            "size": self.size,
            "sigma": self.sigma,
            "mode": self.input,
            "limbs": self.fed.limbs if self.fed and self.input == "limb" else None,
            "joint_merge": self.joint_merge,
        }

    def _drawn(
        self, keypoints: Tensor, dtype: torch.dtype, out: Tensor | None, format: torch.memory_format | None
    ) -> Tensor:
        from fastpose.ops import render_heatmaps  # the skeleton input needs no renderer

        return render_heatmaps(keypoints, **self.drawing, dtype=dtype, out=out, memory_format=format)

    def _checked(self, batch: Any) -> Tensor:
        keypoints = keypoints_of(batch)
        if self.fed is not None:
            check_joints(keypoints, self.fed)
        return keypoints

    def _evidence(self, batch: Any) -> tuple[Tensor, Tensor] | None:
        """Return presence [B, M, T, V] and noise levels [B, 2] of a batch, where they are a part of the input."""
        if not self.evidence:
            return None
        presence, levels = getattr(batch, "presence", None), getattr(batch, "noise_levels", None)
        if presence is None or levels is None:
            raise ValueError(
                "this input has the presence of joints and the level of noise, which the batch lacks; expected a "
                "PoseBatch of a sampler with SamplingConfig(evidence=True)"
            )
        return presence, levels

    def _skeleton(
        self,
        keypoints: Tensor,
        evidence: tuple[Tensor, Tensor] | None,
        dtype: torch.dtype,
        out: Tensor | None,
    ) -> Tensor:
        batch, _, frames = keypoints.shape[:3]
        present = is_present(keypoints)  # [B, M, T, V, 1]
        x = keypoints if self.score_channel else keypoints[..., :2]
        if self.normalize:
            x = unit_coordinates(x, self.size)
        x = torch.where(present, x, 0)
        if evidence is not None:
            x = torch.cat([x, evidence[0][..., None].to(x.dtype)], dim=-1)
        x = fill_persons(x, self.max_persons)  # [B, M, T, V, C]
        if self.duplicate_person:
            seen = present.flatten(2).any(2)  # [B, M]
            lone = (seen.sum(1) == 1).view(-1, 1, 1, 1, 1)
            x = torch.where(lone, x.sum(1, keepdim=True), x)
        x = x.permute(0, 1, 3, 4, 2).reshape(batch, -1, frames, 1, 1)  # [B, M·V·C, T, 1, 1]
        if evidence is not None:
            levels = evidence[1].to(x.dtype)[:, :, None, None, None].expand(-1, -1, frames, 1, 1)
            x = torch.cat([x, levels], dim=1)
        return deliver(x, dtype, out)


@dataclass(frozen=True, slots=True)
class ImplicitHeatmaps:
    """What ``pose_input`` would draw of ``keypoints``; stands for a volume [B, C, T, H, W] before a convolution."""

    keypoints: Tensor  # [B, M, T, V, 3]
    pose_input: PoseInput

    @property
    def shape(self) -> tuple[int, ...]:
        """[B, C, T, H, W] of the heatmaps."""
        return self.pose_input.shape(self.keypoints)

    @property
    def device(self) -> torch.device:
        return self.keypoints.device

    @property
    def dtype(self) -> torch.dtype:
        return self.keypoints.dtype

    @property
    def drawing(self) -> dict[str, Any]:
        """What would be drawn, as arguments of ``fastpose.ops.pose_stem``."""
        return self.pose_input.drawing


def is_drawn(x: "Tensor | ImplicitHeatmaps") -> "TypeIs[Tensor]":
    """Return whether x is a tensor, and not heatmaps known by their keypoints."""
    return isinstance(x, Tensor)


def prepare_input(
    batch: Any,
    input: str,
    *,
    layout: Layout | str | None = None,
    max_persons: int = 2,
    size: tuple[int, int] = (56, 56),
    sigma: float = 0.6,
    joint_merge: str | None = None,
    score_channel: bool = False,
    normalize: bool = True,
    duplicate_person: bool = False,
    dtype: torch.dtype = torch.float32,
    out: Tensor | None = None,
) -> Tensor:
    """Make the input of a model from keypoints.

    Args:
        batch: a ``PoseBatch``, or keypoints [B, M, T, V, 3]: x, y in pixels of ``size``, and score. A joint
            with score ≤ 0, or with anything that is not finite, is missing.
        input: "heatmap" → [B, V, T, H, W], "grayscale" → [B, 1, T, H, W], "limb" → [B, limbs, T, H, W], or
            "skeleton" → [B, M·V·C, T, 1, 1], channel = m·V·C + v·C + c, missing joints and absent persons 0.
        layout: of the keypoints, a ``Layout`` or the name of one; needed by "limb", whose limbs it names.
        max_persons: M of the skeleton input; a batch with fewer persons is filled up with absent ones.
        size: (H, W) in pixels.
        sigma: standard deviation of the drawn Gaussians, in pixels.
        joint_merge: how "grayscale" merges joints: "sum" (the default) or "max".
        score_channel: the score is a third coordinate of the skeleton input (C = 3, else 2).
        normalize: skeleton coordinates are 2x / (W − 1) − 1 and 2y / (H − 1) − 1, not clamped; else pixels.
        duplicate_person: where a clip has one person, all persons of the skeleton input are that one.
        dtype: of the result.
        out: contiguous tensor that receives the result.

    Raises:
        ValueError: an unknown input, or keypoints of another shape than the arguments say.
    """
    settings = PoseInput(
        input=input,
        layout=layout,
        max_persons=max_persons,
        size=size,
        sigma=sigma,
        joint_merge=joint_merge,
        score_channel=score_channel,
        normalize=normalize,
        duplicate_person=duplicate_person,
    )
    return settings.dense(batch, dtype, out)


def keypoints_of(batch: Any) -> Tensor:
    """Return the keypoints [B, M, T, V, 3] of a ``PoseBatch``, or ``batch`` itself; ValueError if it is neither."""
    keypoints = getattr(batch, "keypoints", batch)
    if not isinstance(keypoints, Tensor) or not keypoints.is_floating_point():
        raise ValueError(f"expected a PoseBatch or a floating-point tensor, got {_describe(keypoints)}")
    if keypoints.dim() != 5 or keypoints.shape[-1] != 3:
        raise ValueError(f"keypoints must be [B, M, T, V, 3], got {tuple(keypoints.shape)}")
    return keypoints


def check_extent(max_persons: int, size: tuple[int, int]) -> None:
    """Raise ValueError unless there is room for a person, and a pixel."""
    if max_persons < 1:
        raise ValueError(f"max_persons must be at least 1, got {max_persons}")
    if not isinstance(size, Sequence) or len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be (height, width) of at least 1 pixel, got {size!r}")


def check_joints(keypoints: Tensor, layout: Layout) -> None:
    """Raise ValueError unless keypoints [B, M, T, V, 3] have the joints of ``layout``."""
    if keypoints.shape[3] != layout.num_joints:
        raise ValueError(
            f"layout {layout.name!r} has {layout.num_joints} joints, the keypoints "
            f"{tuple(keypoints.shape)} have {keypoints.shape[3]}"
        )


def is_present(keypoints: Tensor) -> Tensor:
    """Return which joints of [..., 3] are present (``fastpose.ops.presence``): bool [..., 1]."""
    return present_joints(keypoints)[..., None]


def unit_coordinates(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Map pixels of ``size`` (H, W) in [..., C], x and y first, to [-1, 1] from the first pixel to the last."""
    height, width = size
    return scaled_coordinates(x, max(width - 1, 1), max(height - 1, 1))


def scaled_coordinates(x: Tensor, width: float, height: float) -> Tensor:
    """Map 0 to -1, and ``width`` and ``height`` to 1, in x and y of [..., C]; what follows them stays.

    Numbers, not a tensor of them, which each call would copy to the device.
    """
    return torch.cat([x[..., :1] * (2 / width) - 1, x[..., 1:2] * (2 / height) - 1, x[..., 2:]], dim=-1)


def fill_persons(x: Tensor, max_persons: int) -> Tensor:
    """Return [B, M, …] with zeros for the persons up to ``max_persons``; ValueError where M is more."""
    batch, persons = x.shape[:2]
    if persons > max_persons:
        raise ValueError(f"the batch has {persons} persons per clip, the model takes {max_persons}")
    if persons == max_persons:
        return x
    return torch.cat([x, x.new_zeros(batch, max_persons - persons, *x.shape[2:])], dim=1)


def deliver(x: Tensor, dtype: torch.dtype, out: Tensor | None) -> Tensor:
    """Return ``x`` as ``dtype``, in ``out`` where given; ValueError if that does not fit."""
    if out is None:
        return x.to(dtype)
    if out.shape != x.shape or out.dtype != dtype:
        raise ValueError(f"out must be {dtype} {tuple(x.shape)}, got {out.dtype} {tuple(out.shape)}")
    return out.copy_(x)


def _describe(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
