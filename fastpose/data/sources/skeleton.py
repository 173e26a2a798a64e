"""Reading NTU RGB+D ``.skeleton`` files and choosing the bodies of a clip."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastpose.data.core import core
from fastpose.data.sources.skeleton_reference import JOINT_FIELDS, NUM_JOINTS


class DecodeError(ValueError):
    """A file that is no valid ``.skeleton``: where it goes wrong, what was expected there and what was found.

    Attributes:
        path: the file.
        line, column: the place, from 1; columns count bytes.
    """

    def __init__(self, path: str, line: int, column: int, reason: str):
        super().__init__(path, line, column, reason)
        self.path = path
        self.line = line
        self.column = column
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, slots=True, eq=False)
class SkeletonBody:
    """One body that the sensor tracked.

    Attributes:
        body_id: the sensor's number for it, below 2^64.
        frames: int32 [n], the frames of the file that show it, from 0, increasing.
        joints: float32 [n, 25, 12], fields in the order of ``JOINT_FIELDS``; a lost joint is all 0.
    """

    body_id: int
    frames: np.ndarray
    joints: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """The content of one ``.skeleton`` file.

    Attributes:
        num_frames: frames in the file, with or without bodies.
        bodies: the bodies in order of first appearance.
        lost_joints: how many joints held a non-finite number and were set to 0, once per frame.
    """

    num_frames: int
    bodies: list[SkeletonBody]
    lost_joints: int = 0


def read_skeleton(path: str | os.PathLike[str]) -> Skeleton:
    """Read an NTU RGB+D ``.skeleton`` file; each number is ``np.float32(float(token))``.

    Raises:
        DecodeError: the file is damaged, or of another format.
        OSError: it cannot be read.
    """
    error, content = core.parse_skeleton(Path(path).read_bytes())
    if error is not None:
        raise DecodeError(os.fspath(path), *error)
    assert content is not None
    num_frames, lost_joints, bodies = content
    return Skeleton(num_frames, [SkeletonBody(*body) for body in bodies], lost_joints)


def select_bodies(skeleton: Skeleton, max_bodies: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Choose the people of a clip among the bodies the sensor tracked: PYSKL's rules, their faults mended.

    With more than one body, those seen in at most 11 frames are dropped, then those wider than 0.8 of their
    height in 69.754 % of their frames or more (if that leaves none, the longest is kept). The rest, by
    falling motion, each join the first of ``max_bodies`` actors with whom they share no frame, or are
    dropped. Frames without any body, and leading and trailing frames without an actor, are left out. If the
    first actor is absent at first and the second is not, they change places. Lost joints take no part in
    the rules.

    Returns:
        joints: float32 [M, T, 25, 12], 0 where an actor is absent; M is 1 if the rules leave one body, else
            ``max_bodies``; [0, 0, 25, 12] for a file without bodies.
        frames: int32 [T], the frames of the file.

    Raises:
        ValueError: ``max_bodies`` is below 1, or the skeleton's arrays do not fit together.
    """
    if max_bodies < 1:
        raise ValueError(f"max_bodies must be at least 1, got {max_bodies}")
    bodies = [_checked_arrays(body, skeleton.num_frames) for body in skeleton.bodies]
    return core.select_bodies(bodies, skeleton.num_frames, max_bodies)


def _checked_arrays(body: SkeletonBody, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    frames = np.ascontiguousarray(body.frames, np.int32)
    joints = np.ascontiguousarray(body.joints, np.float32)
    name = f"body {body.body_id}"
    if frames.ndim != 1 or frames.size == 0:
        raise ValueError(f"{name}: frames must be [n] with n >= 1, got {frames.shape = }")
    expected = (len(frames), NUM_JOINTS, len(JOINT_FIELDS))
    if joints.shape != expected:
        raise ValueError(f"{name}: joints must be {expected}, got {joints.shape = }")
    if frames[0] < 0 or frames[-1] >= num_frames or (np.diff(frames) <= 0).any():
        raise ValueError(f"{name}: frames must increase from 0 or more to at most {num_frames - 1}")
    if not np.isfinite(joints).all():
        raise ValueError(f"{name}: joints must be finite; set a lost joint's 12 fields to 0")
    return frames, joints
