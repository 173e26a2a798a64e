"""The choice of bodies, and the packing of `.skeleton` files, in NumPy: what csrc's code does, file by file."""

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpose.data.sources.skeleton_reference import JOINT_FIELDS, NUM_JOINTS, parse_skeleton

LONGEST_NOISE = 11  # frames
WIDEST_PER_HEIGHT = 0.8  # x-range over y-range of a frame that is not noisy
LEAST_NOISY_SHARE = 0.69754  # of frames, from which a body is dropped

Track = tuple[NDArray[np.int32], NDArray[np.float32]]  # frames [n], joints [n, 25, 12]


def select_bodies(
    bodies: Sequence[Track], num_frames: int, max_bodies: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Choose a clip's actors by the rules of ``fastpose.data.select_bodies``: joints [M, T, 25, 12], frames [T]."""
    survivors = surviving_tracks(bodies)
    if not survivors:
        return np.zeros((0, 0, NUM_JOINTS, len(JOINT_FIELDS)), np.float32), np.zeros(0, np.int32)
    everyone = np.concatenate([joints for _, joints in survivors])
    ends = np.cumsum([len(frames) for frames, _ in survivors])
    # Rows of `everyone` for each actor and frame of the file, -1 where absent.
    actors = np.full((1 if len(survivors) == 1 else max_bodies, num_frames), -1)
    for (frames, _), end in zip(survivors, ends, strict=True):
        free = np.flatnonzero((actors[:, frames] < 0).all(axis=1))
        if len(free):
            actors[free[0], frames] = np.arange(end - len(frames), end)
    first, last = np.flatnonzero((actors >= 0).any(axis=0))[[0, -1]]
    has_body = np.zeros(num_frames, bool)
    for frames, _ in bodies:
        has_body[frames] = True
    chosen = first + np.flatnonzero(has_body[first : last + 1])
    if len(actors) > 1 and actors[0, first] < 0 <= actors[1, first]:
        actors[[0, 1]] = actors[[1, 0]]
    rows = actors[:, chosen]
    return np.where((rows >= 0)[..., None, None], everyone[rows], np.float32(0)), chosen.astype(np.int32)


def surviving_tracks(bodies: Sequence[Track]) -> list[Track]:
    """Return the bodies that pass the rules, by falling motion, ties in order; at least one if there is any."""
    if len(bodies) <= 1:
        return list(bodies)
    candidates = []
    for track in bodies:
        if len(track[0]) > LONGEST_NOISE:
            noisy_share, motion = assess(track[1])
            if noisy_share < LEAST_NOISY_SHARE:
                candidates.append((motion, track))
    if not candidates:
        return [max(bodies, key=lambda track: len(track[0]))]
    return [track for _, track in sorted(candidates, key=lambda candidate: -candidate[0])]


def assess(joints: NDArray[np.float32]) -> tuple[float, float]:
    """Return the share of noisy frames and the motion, in square metres, of a body [n, 25, 12]."""
    points = joints[..., :3].astype(np.float64)
    present = np.any(joints, axis=-1)
    seen = present[..., None]
    sizes = np.where(seen, points, -np.inf).max(axis=1) - np.where(seen, points, np.inf).min(axis=1)
    noisy = sizes[:, 0] > WIDEST_PER_HEIGHT * sizes[:, 1]  # of a frame without joints both are -inf
    motion = variance(points[present])
    if present[~noisy].any():
        motion = min(motion, variance(points[~noisy][present[~noisy]]))
    return float(noisy.mean()), motion


def variance(points: NDArray[np.float64]) -> float:
    """Return the variance of x, y and z [n, 3], added; 0 of no points."""
    return float(points.var(axis=0).sum()) if len(points) else 0.0


def pack_skeletons(
    paths: Iterable[str | os.PathLike], max_bodies: int, threads: int = 1
) -> dict[str, object]:
    """Read, parse and select the bodies of files, as native ``pack_skeletons`` does, on one thread.

    Returns:
        keypoints: float32 [rows, 25, 2], colour pixels; the rows of a file are its [M, T].
        scores: float32 [rows, 25]: 1 tracked, 0.5 inferred, 0 lost or no such person.
        num_persons, num_frames: int32 [n]; 0 where the file failed.
        errors: a sentence with the path for each file, or "".
        lost_joints: int64 [n].
        bytes: read in all.
    """
    clips = [_pack_file(os.fspath(path), max_bodies) for path in paths]
    sizes = np.array([clip.joints.shape[:2] for clip in clips], np.int32).reshape(-1, 2)
    rows = np.concatenate([clip.joints.reshape(-1, NUM_JOINTS, 3) for clip in (*clips, _Clip())])
    return {
        "keypoints": rows[..., :2].copy(),
        "scores": rows[..., 2].copy(),
        "num_persons": sizes[:, 0].copy(),
        "num_frames": sizes[:, 1].copy(),
        "errors": [clip.error for clip in clips],
        "lost_joints": np.array([clip.lost_joints for clip in clips], np.int64),
        "bytes": sum(clip.bytes for clip in clips),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clip:
    """What a file gives, or why nothing: joints [M, T, 25, 3] are x, y and score."""

    joints: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0, NUM_JOINTS, 3), np.float32))
    error: str = ""
    lost_joints: int = 0
    bytes: int = 0


def _pack_file(path: str, max_bodies: int) -> _Clip:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
            return _Clip(error=f"{path}: cannot be read: not a regular file")
        text = Path(path).read_bytes()
    except OSError as error:
        return _Clip(error=f"{path}: cannot be read: {error.strerror}")
    error, content = parse_skeleton(text)
    if error is not None:
        return _Clip(error=f"{path}: {error[2]}", bytes=len(text))
    assert content is not None
    num_frames, lost_joints, bodies = content
    found: dict[str, Any] = {"lost_joints": lost_joints, "bytes": len(text)}
    if not bodies:
        return _Clip(error=f"{path}: no body in any of its {num_frames} frames", **found)
    joints, _ = select_bodies([(frames, joints) for _, frames, joints in bodies], num_frames, max_bodies)
    color = JOINT_FIELDS.index("colorX")
    state = joints[..., JOINT_FIELDS.index("trackingState"), None]
    scores = np.select([state == 2, state == 1], [1, 0.5], 0).astype(np.float32)
    return _Clip(joints=np.concatenate([joints[..., color : color + 2], scores], axis=-1), **found)
