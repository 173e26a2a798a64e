"""Batches of sampled, noised, cropped and flipped keypoints, one native call each."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from fastpose._native import native
from fastpose.data.pack.presence import MAX_COORDINATE, present_joints
from fastpose.data.sampling.checks import (
    check_pack,
    checked_choice,
    checked_indices,
    checked_integer,
    checked_number,
    checked_pair,
    checked_range,
)

if TYPE_CHECKING:
    from fastpose.data.pack.packed import PackedClips

MAX_ALPHA = 1e3
MAX_INPUT_SIDE = 2**16
INPUT_DRAWS = 12  # csrc/clip_sampler.hpp
FRAME_RULES = ("segments", "resample")
CROPS = ("box", "frame")
MAX_NOISE_ELEMENTS = 2**25  # persons · frames · joints of one clip: the noise's counters have 24 bits


@dataclass(frozen=True, slots=True)
class PoseBatch:
    """B clips of T frames, M persons, V joints.

    Attributes:
        keypoints: float32 [B, M, T, V, 3]: x, y in input pixels, score. Missing joints and absent persons
            are all 0; never NaN or infinite.
        labels: int64 [B].
        frames: int32 [B, T], the frames of the clip that were sampled.
        indices: int64 [B], the clips of the pack.
        draws: float32 [B, 12] in [0, 1), each clip's random numbers for augmentation by the model's input;
            None outside training.
    """

    keypoints: torch.Tensor
    labels: torch.Tensor
    frames: torch.Tensor
    indices: torch.Tensor
    draws: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "PoseBatch":
        """The same batch on ``device``."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "PoseBatch":
        """The same batch in page-locked memory, from which copies to a GPU need not wait."""
        return self._map(torch.Tensor.pin_memory)

    def part(self, begin: int, end: int) -> "PoseBatch":
        """Clips ``begin`` to ``end`` - 1 of the batch, in the same memory."""
        return self._map(lambda tensor: tensor[begin:end])

    def clone(self) -> "PoseBatch":
        """The same batch in memory of its own."""
        return self._map(torch.clone)

    def copy_(self, other: "PoseBatch") -> None:
        """Take over the values of ``other``, a batch of the same shape."""
        for name in ("keypoints", "labels", "frames", "indices", "draws"):
            if (ours := getattr(self, name)) is not None:
                ours.copy_(getattr(other, name), non_blocking=True)

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "PoseBatch":
        tensors = (self.keypoints, self.labels, self.frames, self.indices, self.draws)
        return PoseBatch(*(None if tensor is None else function(tensor) for tensor in tensors))


@dataclass(frozen=True, slots=True)
class AlphaRange:
    """Noise strengths from which each clip draws its own, uniformly."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= MAX_ALPHA:
            raise ValueError(
                f"AlphaRange needs 0 <= low <= high <= {MAX_ALPHA:g}, got {self.low} and {self.high}"
            )


class ClipSampler:
    """Draws batches from packed clips: frames, noise, crop and flip, without Python in the loop.

    Every random number is a function of (seed; clip name, epoch, stream, purpose, position), so a clip's
    sample is the same to the bit in any batch, order, subset, worker or number of threads, and the same
    normals serve every noise strength.

    Args:
        packed: the clips (``PackedClips``); its arrays are read in place, never copied.
        clip_len: T, frames of a sample.
        size: (H, W) of the input in pixels.
        train: draw frames, crop and flip; otherwise middle frames, the whole padded box, no flip.
        seed: 64-bit key of the random numbers.
        max_persons: M; a clip's further persons are left out. Default: the most that a clip of the pack has.
        frame_rule: "segments", the rule of PYSKL and MMAction2, or "resample", MotionBERT's: frame i is
            floor(i·L/T) of L, drawn in training from the T-th part that begins there; frames of a clip
            shorter than T repeat.
        crop: "box", a square round all present joints, of which training takes a random part; or "frame", the
            whole frame, its top left corner at the input's, its longer side filling the input.
        crop_padding: side of the crop square over the larger side of the box of all present joints.
        min_box: pixels; a box whose larger side is below it gives way to the whole frame, squared.
        crop_area: share of the square that a training crop covers, drawn uniformly.
        crop_aspect: width / height of a training crop, drawn log-uniformly.
        flip_probability: of a training clip.
        threads: that one call may use; 0 means all the process has.

    A joint whose score is not a positive finite number, or with a coordinate that is NaN or beyond 1e6
    pixels, counts as missing.

    Raises:
        ValueError: a setting is out of range, or the pack's arrays contradict each other.
    """

    def __init__(
        self,
        packed: "PackedClips",
        clip_len: int = 24,
        size: tuple[int, int] = (56, 56),
        train: bool = True,
        seed: int = 0,
        *,
        max_persons: int | None = None,
        frame_rule: str = "segments",
        crop: str = "box",
        crop_padding: float = 1.25,
        min_box: float = 10.0,
        crop_area: tuple[float, float] = (0.56, 1.0),
        crop_aspect: tuple[float, float] = (3 / 4, 4 / 3),
        flip_probability: float = 0.5,
        threads: int = 1,
    ) -> None:
        check_pack(packed)
        num_joints = packed.keypoints.shape[1]
        flipped_joint = np.array(packed.layout.flip_index(), dtype=np.int64)
        joints = np.arange(num_joints)
        if not np.isin(flipped_joint, joints).all() or not np.array_equal(
            flipped_joint[flipped_joint], joints
        ):
            raise ValueError(
                f"the layout's flip_index must exchange pairs of the pack's {num_joints} joints, "
                f"got {flipped_joint.tolist()}"
            )
        self.packed = packed
        self.clip_len = checked_integer("clip_len", clip_len, 1, MAX_NOISE_ELEMENTS)
        height, width = checked_pair("size", "(height, width)", size)
        self.size = (
            checked_integer("height", height, 1, MAX_INPUT_SIDE),
            checked_integer("width", width, 1, MAX_INPUT_SIDE),
        )
        self.train = bool(train)
        self.seed = checked_integer("seed", seed, 0, 2**64 - 1)
        if max_persons is None:
            max_persons = int(packed.num_persons.max(initial=1))
        self.max_persons = checked_integer("max_persons", max_persons, 1, MAX_NOISE_ELEMENTS)
        if self.max_persons * self.clip_len * num_joints > MAX_NOISE_ELEMENTS:
            raise ValueError(
                f"max_persons * clip_len * joints must be at most {MAX_NOISE_ELEMENTS}, "
                f"got {self.max_persons} * {self.clip_len} * {num_joints}"
            )
        self.frame_rule = checked_choice("frame_rule", frame_rule, FRAME_RULES)
        self.crop = checked_choice("crop", crop, CROPS)
        self.crop_padding = checked_number("crop_padding", crop_padding, 1.0, 100.0)
        self.min_box = checked_number("min_box", min_box, 1.0, MAX_COORDINATE)
        self.crop_area = checked_range("crop_area", crop_area, 1e-3, 1.0)
        self.crop_aspect = checked_range("crop_aspect", crop_aspect, 1e-2, 1e2)
        self.flip_probability = checked_number("flip_probability", flip_probability, 0.0, 1.0)
        self.threads = checked_integer("threads", threads, 0, 4096)
        self._native = native.PackedSampler(
            packed.keypoints,
            packed.scores,
            packed.offsets,
            packed.num_persons,
            packed.num_frames,
            packed.image_sizes,
            packed.name_hashes,
            packed.total_difference,
            flipped_joint,
            seed=self.seed,
            clip_len=self.clip_len,
            size=self.size,
            max_persons=self.max_persons,
            train=self.train,
            frame_rule=getattr(native.FrameRule, self.frame_rule.upper()),
            crop=getattr(native.CropRule, self.crop.upper()),
            crop_padding=self.crop_padding,
            min_box=self.min_box,
            crop_area=self.crop_area,
            crop_aspect=self.crop_aspect,
            flip_probability=self.flip_probability,
        )

    def batch(
        self,
        indices: Sequence[int] | NDArray[np.integer] | torch.Tensor,
        epoch: int = 0,
        stream: int = 0,
        alpha: float | AlphaRange | ArrayLike = 0.0,
        *,
        draw_frames: bool | None = None,
        flip: bool | None = None,
    ) -> PoseBatch:
        """Sample the clips ``indices`` [B].

        Args:
            indices: clips of the pack, in any order, repeats allowed.
            epoch: 0 to 2**32 - 1; another epoch draws other numbers.
            stream: 0 to 15: 0 clean, 1 noisy, 2 clean when not shared, 3 evaluation (draw k is epoch k).
            alpha: noise strength: for all clips, per clip [B], or a range from which each draws its own.
            draw_frames: draw the frames rather than take fixed ones. Default: as ``train``.
            flip: mirror all clips, or none. Default: drawn in training, else none.

        Raises:
            ValueError: an index, the epoch, the stream or an alpha is out of range.
        """
        indices = checked_indices(indices, len(self.packed.num_frames))
        count = len(indices)
        alpha_low, alpha_high = alpha_ranges(alpha, count)
        shape = (count, self.max_persons, self.clip_len, self.packed.keypoints.shape[1], 3)
        keypoints = torch.empty(shape, dtype=torch.float32, device="cpu")
        frames = torch.empty(count, self.clip_len, dtype=torch.int32, device="cpu")
        draws = torch.empty(count, INPUT_DRAWS, dtype=torch.float32, device="cpu") if self.train else None
        self._native.sample(
            indices,
            alpha_low,
            alpha_high,
            epoch=checked_integer("epoch", epoch, 0, 2**32 - 1),
            stream=checked_integer("stream", stream, 0, 15),
            draw_frames=self.train if draw_frames is None else bool(draw_frames),
            flip=False if flip is None and not self.train else flip,
            threads=self.threads,
            keypoints=keypoints.numpy(),
            frames=frames.numpy(),
            draws=None if draws is None else draws.numpy(),
        )
        labels = torch.from_numpy(self.packed.labels[indices])
        return PoseBatch(keypoints, labels, frames, torch.from_numpy(indices), draws)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "_native"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(**state)


def total_difference(
    keypoints: ArrayLike, scores: ArrayLike | None, image_size: tuple[int, int]
) -> tuple[float, float]:
    """How much a clip moves, and the noise coefficient that follows from it.

    Args:
        keypoints: [M, T, V, 2] in pixels, all frames of the clip.
        scores: [M, T, V]; a joint is missing where it is not positive and finite. None: where x = y = 0.
        image_size: (h, w) of the video in pixels.

    Returns:
        D, the summed movement of the first person's joints in pixels, steps from or to a missing joint left
        out; and c = clip(sqrt(D' / 10000), 0.2, 1), D' being D as 1920×1080 video would have it.

    Raises:
        ValueError: the shapes do not fit each other, or the image has no size.
    """
    keypoints = np.asarray(keypoints, dtype=np.float64)
    if keypoints.ndim != 4 or keypoints.shape[3] != 2:
        raise ValueError(f"keypoints must be [M, T, V, 2], got shape {list(keypoints.shape)}")
    if scores is None:
        scores = (keypoints != 0).any(axis=-1)
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != keypoints.shape[:3]:
        raise ValueError(
            f"scores must be {list(keypoints.shape[:3])} as keypoints are, got {list(scores.shape)}"
        )
    moved = 0.0
    for person, score in zip(keypoints[:1], scores[:1], strict=True):
        present = present_joints(person, score)  # [T, V]
        person = np.where(present[..., None], person, 0.0)
        steps = np.linalg.norm(np.diff(person, axis=0), axis=-1)  # [T - 1, V]
        moved = float(steps[present[1:] & present[:-1]].sum())
    return moved, noise_coefficient(moved, image_size)


def noise_coefficient(total_difference: float, image_size: tuple[int, int]) -> float:
    """c of a clip whose movement is ``total_difference`` pixels of an image of (h, w) pixels."""
    height, width = image_size
    if not (0 < height < math.inf and 0 < width < math.inf):
        raise ValueError(f"image_size must be (h, w) above 0, got {image_size}")
    scale = math.sqrt((1920.0**2 + 1080.0**2) / (float(width) ** 2 + float(height) ** 2))
    return min(max(math.sqrt(total_difference * scale / 10000.0), 0.2), 1.0)


def alpha_ranges(
    alpha: float | AlphaRange | ArrayLike, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if isinstance(alpha, AlphaRange):
        return np.full(count, alpha.low, np.float64), np.full(count, alpha.high, np.float64)
    try:
        values = np.asarray(alpha, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"alpha must be a number, one per clip, or an AlphaRange, got {alpha!r}") from error
    if values.shape not in ((), (count,)):
        raise ValueError(
            f"alpha must be one number or one per clip [{count}], got shape {list(values.shape)}"
        )
    wrong = ~((values >= 0) & (values <= MAX_ALPHA))
    if wrong.any():
        raise ValueError(f"alpha must be between 0 and {MAX_ALPHA:g}, got {values[wrong].ravel()[0]}")
    values = np.ascontiguousarray(np.broadcast_to(values, (count,)))
    return values, values
