"""MotionBERT's own way from keypoints to the input of its action recognition, faults included.

Published weights expect exactly this. Written plainly in NumPy, one clip at a time: the definition that the
batched form in ``fastpose.models.inputs.joint_input`` is tested against. The order is ``match_persons``, ``to_camera``,
``to_h36m``, ``resample``, ``with_scores``, ``two_persons``, in training ``random_move``, and ``crop_scale``.

Source: Zhu et al., "MotionBERT: A Unified Perspective on Learning Human Motion Representations", ICCV 2023.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastpose.data.pack.layouts import COCO17, H36M17, conversion
from fastpose.data.pack.packed import PackedClips

MAX_ANGLE = 10.0  # degrees, of a random move
SCALES = (0.9, 1.1)
MAX_SHIFT = 0.1  # of the coordinates, which run from -1 to 1
NUM_MOVE_DRAWS = 8
TEST_RATIO = 2.0  # of crop_scale
TRAIN_RATIOS = (1.0, 3.0)


def to_camera(keypoints: NDArray[Any], image_size: tuple[int, int]) -> NDArray[Any]:
    """Map pixels [..., 2] of an image of (h, w) to -1..1 along its longer side, from its top left corner."""
    return keypoints / max(image_size) * 2 - 1


def match_persons(keypoints: NDArray[Any]) -> NDArray[Any]:
    """Give each of two persons the keypoints nearest to where its first joints were one frame before.

    Two persons change places, from a frame on, where the first one's joints are nearer to the second's of the
    frame before. Only keypoints change places: scores stay where they were, a fault of the published code.

    Args:
        keypoints: [M, T, V, 2] of all frames of the clip; persons past the second are left as they are.

    Returns:
        [M, T, V, 2]; ``keypoints`` itself with one person or one frame.
    """
    if len(keypoints) < 2 or keypoints.shape[1] < 2:
        return keypoints
    now, before = keypoints[0, 1:], keypoints[:2, :-1]
    stay, change = np.linalg.norm(now - before, axis=-1).sum(axis=-1)  # [T - 1] each
    changed = np.concatenate([[False], np.cumsum(stay > change) % 2 == 1])  # [T]
    matched = keypoints.copy()
    matched[:2, changed] = keypoints[1::-1, changed]
    return matched


def match_clips(packed: PackedClips) -> PackedClips:
    """Return ``packed`` with ``match_persons`` done in every clip, its D unchanged; itself where no person moves.

    It is done once for whole clips: matching adds up over frames, of which a sample holds only some. The
    keypoints are copied if one clip changes.
    """
    keypoints = packed.keypoints
    for clip in np.flatnonzero(packed.num_persons > 1):
        rows = slice(packed.offsets[clip], packed.offsets[clip + 1])
        shape = (packed.num_persons[clip], packed.num_frames[clip], *packed.keypoints.shape[1:])
        given = packed.keypoints[rows].reshape(shape)  # [M, T, V, 2]
        matched = match_persons(given)
        if np.array_equal(matched, given):
            continue
        if keypoints is packed.keypoints:
            keypoints = packed.keypoints.copy()
        keypoints[rows] = matched.reshape(-1, *shape[2:])
    return packed if keypoints is packed.keypoints else replace(packed, keypoints=keypoints, path=None)


def to_h36m(keypoints: NDArray[Any]) -> NDArray[Any]:
    """Return COCO-17 keypoints [..., 17, 2] as H36M-17; scores stay in COCO's order, a fault of the published code."""
    sources = conversion(COCO17, H36M17)
    return np.stack([keypoints[..., list(joints), :].mean(axis=-2) for joints in sources], axis=-2)


def resample(length: int, count: int, random: np.random.Generator | None = None) -> NDArray[np.int64]:
    """Return ``count`` frames spread evenly over a clip of ``length``; frames repeat where it is shorter.

    Without ``random``, frame i is floor(i·length/count). With it, frame i of a longer clip is drawn from the
    i-th of ``count`` equal parts; of a shorter one it is i·length/count rounded down or up by a coin, and the
    frames are sorted.
    """
    position = np.arange(count, dtype=np.int64) * length  # in units of 1 / count frames
    if random is None:
        return position // count
    if length >= count:
        return (position + random.integers(length, size=count)) // count
    up = random.integers(2, size=count)
    return np.sort(np.minimum((position + up * (count - 1)) // count, length - 1))


def with_scores(keypoints: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.float32]:
    """Return keypoints [M, T, V, 2] and scores [M, T, V] as joints [M, T, V, 3]."""
    return np.concatenate([keypoints, scores[..., None]], axis=-1).astype(np.float32)


def two_persons(joints: NDArray[Any]) -> NDArray[Any]:
    """Return joints [1, T, V, 3] with a second person of zeros; those of two persons as they are."""
    return joints if len(joints) > 1 else np.concatenate([joints, np.zeros_like(joints)])


def random_move(joints: NDArray[Any], draws: ArrayLike) -> NDArray[Any]:
    """Turn, scale and shift all persons about the middle of the frame, each changing evenly over time.

    Args:
        joints: [M, T, V, 3].
        draws: 8 numbers of [0, 1): the angle, within ±10°, at the first and the last frame, the scale, 0.9 to
            1.1, at both, the shifts of x, within ±0.1, and those of y.
    """
    low = np.repeat([-MAX_ANGLE, SCALES[0], -MAX_SHIFT, -MAX_SHIFT], 2)
    high = np.repeat([MAX_ANGLE, SCALES[1], MAX_SHIFT, MAX_SHIFT], 2)
    ends = (low + (high - low) * np.asarray(draws)).reshape(4, 2)
    angle, scale, *shift = (np.linspace(first, last, joints.shape[1])[:, None] for first, last in ends)
    cos, sin = scale * np.cos(np.deg2rad(angle)), scale * np.sin(np.deg2rad(angle))  # [T, 1]
    x, y, score = np.moveaxis(joints, -1, 0)  # [M, T, V]
    moved = (cos * x - sin * y + shift[0], sin * x + cos * y + shift[1], score)
    return np.stack(moved, axis=-1).astype(joints.dtype)


def crop_scale(joints: NDArray[Any], ratio: float) -> NDArray[Any]:
    """Place the box of all joints with a score, ``ratio`` times as wide, in [-1, 1].

    Joints outside are clipped to it. Absent persons' zeros are moved too. All is 0 where fewer than four joints
    have a score, or all of them lie on one point.

    Args:
        joints: [M, T, V, 3].
        ratio: side of the square that becomes [-1, 1], over the longer side of the box; 2 in testing, drawn
            from 1 to 3 in training.
    """
    seen = joints[joints[..., 2] != 0][:, :2]
    if len(seen) < 4 or (side := ratio * np.ptp(seen, axis=0).max()) == 0:
        return np.zeros_like(joints)
    corner = (seen.min(axis=0) + seen.max(axis=0) - side) / 2
    placed = joints.copy()
    placed[..., :2] = np.clip(((joints[..., :2] - corner) / side - 0.5) * 2, -1, 1)
    return placed
