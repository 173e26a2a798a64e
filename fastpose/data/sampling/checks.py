"""Checks of what callers of the samplers give, before native code trusts it."""

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fastpose.data.pack.packed import PackedClips

MAX_IMAGE_SIDE = 10**6


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


def checked_integer(name: str, value: int, low: int, high: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or not low <= value.__index__() <= high:
        raise ValueError(f"{name} must be an integer from {low} to {high}, got {value!r}")
    return value.__index__()


def checked_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return value


def checked_number(name: str, value: float, low: float, high: float) -> float:
    if not isinstance(value, Real) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


def checked_pair(name: str, meaning: str, value: Sequence) -> tuple:
    try:
        first, last = value
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be {meaning}, got {value!r}") from None
    return first, last


def checked_range(name: str, value: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    meaning = f"(low, high) with {low:g} <= low <= high <= {high:g}"
    first, last = checked_pair(name, meaning, value)
    if not (isinstance(first, Real) and isinstance(last, Real) and low <= first <= last <= high):
        raise ValueError(f"{name} must be {meaning}, got {value!r}")
    return float(first), float(last)


def check_pack(packed: "PackedClips") -> None:
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
