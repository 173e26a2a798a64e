"""Batches of sampled, noised, cropped and flipped keypoints, one native call each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from fastpose._native import native

if TYPE_CHECKING:
    from fastpose.data.packed import PackedClips

MAX_COORDINATE = 1e6  # pixels; beyond it a coordinate is damage and its joint missing (csrc/keypoint.hpp)
MAX_ALPHA = 1e3
MAX_IMAGE_SIDE = 10**6
MAX_INPUT_SIDE = 2**16
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
    """

    keypoints: torch.Tensor
    labels: torch.Tensor
    frames: torch.Tensor
    indices: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "PoseBatch":
        """The same batch on ``device``."""
        return PoseBatch(*(tensor.to(device, non_blocking=non_blocking) for tensor in self._tensors()))

    def pin_memory(self) -> "PoseBatch":
        """The same batch in page-locked memory, from which copies to a GPU need not wait."""
        return PoseBatch(*(tensor.pin_memory() for tensor in self._tensors()))

    def _tensors(self) -> tuple[torch.Tensor, ...]:
        return self.keypoints, self.labels, self.frames, self.indices


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
        crop_padding: float = 1.25,
        min_box: float = 10.0,
        crop_area: tuple[float, float] = (0.56, 1.0),
        crop_aspect: tuple[float, float] = (3 / 4, 4 / 3),
        flip_probability: float = 0.5,
        threads: int = 1,
    ) -> None:
        _check_pack(packed)
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
        height, width = _pair("size", "(height, width)", size)
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
        self.crop_padding = _number("crop_padding", crop_padding, 1.0, 100.0)
        self.min_box = _number("min_box", min_box, 1.0, MAX_COORDINATE)
        self.crop_area = _range("crop_area", crop_area, 1e-3, 1.0)
        self.crop_aspect = _range("crop_aspect", crop_aspect, 1e-2, 1e2)
        self.flip_probability = _number("flip_probability", flip_probability, 0.0, 1.0)
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
            draw_frames: draw the frames rather than take the middle ones. Default: as ``train``.
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
        )
        return PoseBatch(
            keypoints, torch.from_numpy(self.packed.labels[indices]), frames, torch.from_numpy(indices)
        )

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


def present_joints(keypoints: NDArray[np.floating], scores: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which joints count: keypoints [..., 2], scores [...] → bool [...]."""
    inside = (np.abs(keypoints) <= MAX_COORDINATE).all(axis=-1)
    return (scores > 0) & np.isfinite(scores) & inside


def checked_indices(
    indices: Sequence[int] | NDArray[np.integer] | torch.Tensor, num_clips: int
) -> NDArray[np.int64]:
    """A copy of ``indices`` [B], or a ValueError that names the one that is no clip of the pack."""
    given = np.asarray(indices)
    if given.size == 0:
        given = given.astype(np.int64)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise ValueError(f"indices must be integers [B], got {given.dtype} of shape {list(given.shape)}")
    wrong = np.flatnonzero((given < 0) | (given >= num_clips))
    if len(wrong):
        raise ValueError(
            f"clip index {given[wrong[0]]} at position {wrong[0]} is out of range "
            f"for a pack of {num_clips} clips"
        )
    return np.array(given, dtype=np.int64)


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


def checked_integer(name: str, value: int, low: int, high: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or not low <= value.__index__() <= high:
        raise ValueError(f"{name} must be an integer from {low} to {high}, got {value!r}")
    return value.__index__()


def _number(name: str, value: float, low: float, high: float) -> float:
    if not isinstance(value, Real) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


def _pair(name: str, meaning: str, value: Sequence) -> tuple:
    try:
        first, last = value
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be {meaning}, got {value!r}") from None
    return first, last


def _range(name: str, value: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    meaning = f"(low, high) with {low:g} <= low <= high <= {high:g}"
    first, last = _pair(name, meaning, value)
    if not (isinstance(first, Real) and isinstance(last, Real) and low <= first <= last <= high):
        raise ValueError(f"{name} must be {meaning}, got {value!r}")
    return float(first), float(last)


def _check_pack(packed: "PackedClips") -> None:
    """Raise ValueError unless the arrays fit each other: native code trusts them."""
    num_clips = len(packed.num_frames)
    if packed.scores.ndim != 2 or packed.scores.shape[1] < 1:
        raise ValueError(
            f"the pack's scores must be [rows, V] with V >= 1, got shape {list(packed.scores.shape)}"
        )
    rows, num_joints = packed.scores.shape
    expected = {
        "keypoints": (np.float32, (rows, num_joints, 2)),
        "scores": (np.float32, (rows, num_joints)),
        "offsets": (np.int64, (num_clips + 1,)),
        "num_persons": (np.int32, (num_clips,)),
        "num_frames": (np.int32, (num_clips,)),
        "image_sizes": (np.int32, (num_clips, 2)),
        "name_hashes": (np.uint64, (num_clips,)),
        "total_difference": (np.float64, (num_clips,)),
        "labels": (np.int64, (num_clips,)),
    }
    for name, (dtype, shape) in expected.items():
        array = getattr(packed, name)
        flags = array.flags
        if array.dtype != dtype or array.shape != shape or not (flags.c_contiguous and flags.aligned):
            raise ValueError(
                f"the pack's {name} must be contiguous {np.dtype(dtype)} {list(shape)}, "
                f"got {array.dtype} {list(array.shape)} with strides {list(array.strides)}"
            )
    if packed.offsets[0] != 0 or packed.offsets[-1] != rows:
        raise ValueError(
            f"the pack's offsets must run from 0 to {rows} rows, "
            f"got {packed.offsets[0]} to {packed.offsets[-1]}"
        )
    rows_of_clip = np.diff(packed.offsets)
    movement, sizes = packed.total_difference, packed.image_sizes
    for what, good in (
        ("num_frames below 1", packed.num_frames >= 1),
        ("num_persons below 1", packed.num_persons >= 1),
        (
            "offsets that contradict num_persons * num_frames",
            rows_of_clip == packed.num_persons.astype(np.int64) * packed.num_frames,
        ),
        ("an image size outside 1 to 1e6 pixels", ((sizes >= 1) & (sizes <= MAX_IMAGE_SIDE)).all(axis=1)),
        ("a total_difference that is negative or not finite", (movement >= 0) & np.isfinite(movement)),
    ):
        if not good.all():
            raise ValueError(f"clip {np.flatnonzero(~good)[0]} of the pack has {what}")
