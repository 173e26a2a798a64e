"""A parametric human: the 25 joints of Kinect v2, posed by a few handles that move over time.

Axes are right-handed and in metres: x to the body's right, y up, z to its back. A body with no turn
faces -z, where the camera stands, so its axes are those of a Kinect's camera space.
"""

from dataclasses import dataclass, field

import numpy as np

MIRRORED = np.array(
    [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 20, 23, 24, 21, 22]
)
"""Joint indices after left and right are exchanged."""

PARENTS = np.array([0, 0, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 1, 7, 7, 11, 11])
"""The joint from which each bone comes."""

LEFT, RIGHT = 0, 1
HANGING_HAND = (0.14, -0.92, 0.1)

_SHOULDER = (4, 8)  # first joint of each arm; elbow, wrist and hand follow
_HIP = (12, 16)  # first joint of each leg; knee, ankle and foot follow
_FINGERS = ((21, 22), (23, 24))  # tip and thumb
_OUTWARD = (-1.0, 1.0)  # sign of x away from the body


@dataclass(frozen=True, slots=True)
class Build:
    """Lengths of one person in metres."""

    abdomen: float
    thorax: float
    neck: float
    head: float
    shoulder: float  # half the width
    hip: float  # half the width
    upper_arm: float
    forearm: float
    hand: float
    thigh: float
    shank: float
    ankle: float  # height above the floor
    foot: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Build":
        """Return an adult of 1.5 to 1.93 m with limb ratios of their own."""
        height = rng.uniform(1.5, 1.93)
        share = np.array(
            [0.18, 0.14, 0.045, 0.085, 0.098, 0.047, 0.16, 0.142, 0.045, 0.235, 0.22, 0.042, 0.075]
        )
        return cls(*(height * share * rng.normal(1, 0.04, share.size).clip(0.9, 1.1)).tolist())

    @property
    def arm(self) -> float:
        return self.upper_arm + self.forearm

    @property
    def leg(self) -> float:
        return self.thigh + self.shank


@dataclass(slots=True)
class Pose:
    """Handles of one person over T frames; every array starts as relaxed standing.

    Turns are (forward bend, turn to the left, tilt to the left) in radians.
    """

    num_frames: int
    pelvis: np.ndarray = field(init=False)  # [T, 3] (right, up, forward) leg lengths from standing
    hips: np.ndarray = field(init=False)  # [T, 3] turn of the pelvis
    spine: np.ndarray = field(init=False)  # [T, 3] turn of the chest against the pelvis
    neck: np.ndarray = field(init=False)  # [T, 3] turn of the head against the chest
    hands: np.ndarray = field(
        init=False
    )  # [T, 2, 3] (out, up, forward) arm lengths from the shoulder, in the chest's axes
    elbows: np.ndarray = field(init=False)  # [T, 2] from 0, pointing down, to 1, pointing out
    feet: np.ndarray = field(
        init=False
    )  # [T, 2, 3] (out, up, forward) leg lengths from the floor under the hip

    def __post_init__(self) -> None:
        frames = self.num_frames
        self.pelvis, self.hips, self.spine, self.neck = np.zeros((4, frames, 3))
        self.hands = np.tile(np.array(HANGING_HAND), (frames, 2, 1))
        self.elbows = np.full((frames, 2), 0.15)
        self.feet = np.tile(np.array([0.06, 0.0, 0.0]), (frames, 2, 1))


def rotation(turn: np.ndarray) -> np.ndarray:
    """Return rotation matrices [T, 3, 3] of (forward bend, turn to the left, tilt to the left) [T, 3]."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(turn.T), np.cos(turn.T)
    rows = [
        [cy * cz - sy * sx * sz, -cy * sz - sy * sx * cz, sy * cx],
        [cx * sz, cx * cz, sx],
        [-sy * cz - cy * sx * sz, sy * sz - cy * sx * cz, cy * cx],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def _apply(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Rotate vectors, [3] or [T, 3], by matrices [T, 3, 3]."""
    return (matrices @ np.broadcast_to(vectors, (len(matrices), 3))[..., None])[..., 0]


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length 1 to float64's rounding; those shorter than 1e-9 stay short."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-9)


def _bend_limb(
    root: np.ndarray, target: np.ndarray, upper: float, lower: float, pole: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return middle and end [T, 3] of a two-bone limb that reaches for a target, its middle joint bent to ``pole``."""
    direction = _unit(target - root)
    distance = np.linalg.norm(target - root, axis=-1, keepdims=True).clip(
        0.35 * (upper + lower), 0.998 * (upper + lower)
    )
    along = (upper**2 - lower**2 + distance**2) / (2 * distance)
    height = np.sqrt(np.maximum(upper**2 - along**2, 0))
    side = _unit(pole - (pole * direction).sum(-1, keepdims=True) * direction)
    return root + along * direction + height * side, root + distance * direction


def pose_joints(build: Build, pose: Pose) -> np.ndarray:
    """Return joints [T, 25, 3] of a body that stands on y = 0 at the origin and faces -z."""
    joints = np.empty((pose.num_frames, 25, 3))
    root = rotation(pose.hips)
    middle = root @ rotation(pose.spine / 2)
    chest = root @ rotation(pose.spine)
    head = chest @ rotation(pose.neck)
    heading = rotation(pose.hips * (0, 1, 0))

    standing = build.ankle + 0.985 * build.leg
    joints[:, 0] = build.leg * pose.pelvis * (1, 1, -1) + (0, standing, 0)
    joints[:, 1] = joints[:, 0] + build.abdomen * root[:, :, 1]
    joints[:, 20] = joints[:, 1] + build.thorax * middle[:, :, 1]
    joints[:, 2] = joints[:, 20] + build.neck * chest[:, :, 1]
    joints[:, 3] = joints[:, 2] + build.head * head[:, :, 1]

    for side, outward in enumerate(_OUTWARD):
        towards = np.array([outward, 1.0, -1.0])
        shoulder, tip, thumb = _SHOULDER[side], *_FINGERS[side]
        joints[:, shoulder] = joints[:, 20] + _apply(chest, np.array([outward * build.shoulder, -0.03, 0.0]))
        raised = pose.elbows[:, side]
        pole = np.stack([outward * raised, raised - 1, np.full_like(raised, 0.35)], -1)
        target = joints[:, shoulder] + build.arm * _apply(chest, pose.hands[:, side] * towards)
        elbow, wrist = _bend_limb(
            joints[:, shoulder], target, build.upper_arm, build.forearm, _apply(chest, pole)
        )
        forearm = _unit(wrist - elbow)
        joints[:, shoulder + 1], joints[:, shoulder + 2] = elbow, wrist
        joints[:, shoulder + 3] = wrist + build.hand * forearm
        joints[:, tip] = wrist + 2 * build.hand * forearm
        joints[:, thumb] = wrist + build.hand * (0.8 * forearm - 0.5 * outward * chest[:, :, 0])

        hip = _HIP[side]
        joints[:, hip] = joints[:, 0] + _apply(root, np.array([outward * build.hip, -0.02, 0.0]))
        target = build.leg * pose.feet[:, side] * towards + (outward * build.hip, build.ankle, 0)
        knee_pole = _apply(heading, np.array([0.15 * outward, 0.0, -1.0])) + np.array([0, 0.01, 0])
        knee, ankle = _bend_limb(joints[:, hip], target, build.thigh, build.shank, knee_pole)
        joints[:, hip + 1], joints[:, hip + 2] = knee, ankle
        toes = _apply(heading, np.array([0.25 * outward, -0.35, -0.95]))
        joints[:, hip + 3] = ankle + build.foot * toes
    return joints


def mirror(joints: np.ndarray) -> np.ndarray:
    """Return the same motion with left and right exchanged, [T, 25, 3]."""
    return joints[:, MIRRORED] * (-1, 1, 1)
