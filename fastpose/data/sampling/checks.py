"""Checks of what callers of the samplers give, before native code trusts it."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fastpose.data.pack.packed import PackedClips
from fastpose.data.sampling.sample_prior import SamplePrior
from fastpose.settings import SamplingConfig
from fastpose.settings.checks import is_whole

MAX_IMAGE_SIDE = 10**6


def checked_indices(
    indices: Sequence[int] | NDArray[np.integer] | torch.Tensor, num_clips: int
) -> NDArray[np.int64]:
    """Return a copy of ``indices`` [B]; a ValueError names one that is no clip of the pack."""
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
    """Return ``value`` as an int; ValueError unless it is an integer of [low, high]."""
    if not is_whole(value, low, high):
        raise ValueError(f"{name} must be an integer from {low} to {high}, got {value!r}")
    return value.__index__()


def checked_flips(packed: PackedClips) -> NDArray[np.int64]:
    """Return the joint that each of the pack's joints becomes in a mirror [V].

    Raises:
        ValueError: the layout does not exchange pairs of these joints.
    """
    num_joints = packed.keypoints.shape[1]
    flips = np.array(packed.layout.flip_index(), dtype=np.int64)
    joints = np.arange(num_joints)
    if not np.isin(flips, joints).all() or not np.array_equal(flips[flips], joints):
        raise ValueError(
            f"the layout's flip_index must exchange pairs of the pack's {num_joints} joints, "
            f"got {flips.tolist()}"
        )
    return flips


def limb_joints(packed: PackedClips) -> NDArray[np.uint8]:
    """Return [V, V]: 1 for the joints within two limbs of each joint, which a hidden limb takes with it."""
    joined = np.eye(packed.keypoints.shape[1], dtype=np.float32)  # whose products are fast
    for a, b in packed.layout.limbs:
        joined[a, b] = joined[b, a] = 1
    return (joined @ joined > 0).astype(np.uint8)


def check_pack(packed: PackedClips) -> None:
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


def checked_prior(
    prior: SamplePrior | None, packed: PackedClips, settings: SamplingConfig
) -> SamplePrior | None:
    """Return the prior of the filter that ``settings`` ask for, None where they ask for none.

    Raises:
        ValueError: there is none, or it knows other joints than the clips have.
    """
    if settings.motion_filter == "off":
        return None
    if prior is None:
        raise ValueError(
            f"motion_filter = {settings.motion_filter!r} needs a prior: SamplePrior.fit learns one from clean "
            "clips, and a trained run has one in its ModelCard"
        )
    num_joints = packed.keypoints.shape[1]
    if prior.num_joints != num_joints:
        raise ValueError(
            f"the prior knows {prior.num_joints} joints, the clips have {num_joints} "
            f"(layout {getattr(packed.layout, 'name', 'unnamed')!r})"
        )
    return prior
