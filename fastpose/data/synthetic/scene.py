"""One clip of the synthetic set: who acts where, in front of which camera, and which bodies the sensor tracks."""

from dataclasses import astuple, dataclass

import numpy as np

from fastpose.data.sources.ntu_names import XSUB60_TRAIN, NtuName
from fastpose.data.synthetic.body import Build, Pose, mirror, pose_joints, rotation
from fastpose.data.synthetic.motion import DISTANCE, MOTIONS, Motion, Style, stand
from fastpose.data.synthetic.sensor import AZIMUTHS, INFERRED, Camera, joint_table, measure

TRAIN_PERFORMERS = tuple(sorted(XSUB60_TRAIN))
TEST_PERFORMERS = tuple(number for number in range(1, 41) if number not in TRAIN_PERFORMERS)
FRAMES = (36, 61)  # a clip's length, half-open

_FIRST_BODY_ID = 72057594037927936
_PURPOSE_PERFORMER, _PURPOSE_CLIP = 0, 1  # random streams that must not meet


@dataclass(frozen=True, slots=True)
class _Performer:
    build: Build
    left_handed: bool
    tempo: float
    amplitude: float

    @classmethod
    def draw(cls, seed: int, number: int) -> "_Performer":
        rng = np.random.default_rng([seed, _PURPOSE_PERFORMER, number])
        return cls(Build.draw(rng), rng.random() < 0.2, rng.uniform(0.8, 1.25), rng.uniform(0.75, 1.2))

    def act(self, motion: Motion, t: np.ndarray, rng: np.random.Generator, mirrored: bool) -> np.ndarray:
        """Return joints [T, 25, 3] of one performance, standing at the origin and facing -z."""
        style = Style(rng, self.amplitude * rng.uniform(0.8, 1.2), self.tempo * rng.uniform(0.9, 1.1))
        pose = Pose(len(t))
        stand(pose, t, style)
        motion(pose, t, style)
        joints = pose_joints(self.build, pose)
        return mirror(joints) if mirrored else joints


@dataclass(frozen=True, slots=True)
class BodyTrack:
    """One body as the sensor tracked it."""

    body_id: int
    frames: np.ndarray  # int [n], increasing
    table: np.ndarray  # float64 [n, 25, 12], in file order


def perform(clip: NtuName, seed: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return world joints [T, 25, 3] of each person, round the origin on the floor y = 0."""
    t = np.linspace(0, 1, rng.integers(*FRAMES))
    motions = MOTIONS[clip.action]
    people = [_Performer.draw(seed, clip.performer)]
    if len(motions) == 2:
        own = TRAIN_PERFORMERS if clip.performer in TRAIN_PERFORMERS else TEST_PERFORMERS
        others = [number for number in own if number != clip.performer]
        people.append(_Performer.draw(seed, others[rng.integers(len(others))]))

    facing = AZIMUTHS[1 + clip.replication] + rng.normal(0, 0.2)
    middle = rng.normal(0, 0.2, 3) * (1, 0, 1)
    if len(people) == 1:
        joints = people[0].act(motions[0], t, rng, mirrored=people[0].left_handed)
        return [_place(joints, facing, middle)]
    scene = []
    gap = DISTANCE[clip.action] * rng.uniform(0.92, 1.08)
    for person, motion, side in zip(people, motions, rng.permutation([-1, 1]), strict=True):
        joints = person.act(motion, t, rng, mirrored=False)  # hands that meet are right hands
        apart = side * gap / 2 * np.array([np.cos(facing), 0, -np.sin(facing)])
        scene.append(_place(joints, facing + side * np.pi / 2, middle + apart))
    return scene


def _place(joints: np.ndarray, turn: float, where: np.ndarray) -> np.ndarray:
    return joints @ rotation(np.array([[0, turn, 0]]))[0].T + where


def record(clip: NtuName, seed: int) -> tuple[int, list[BodyTrack]]:
    """Return the number of frames of a clip and the bodies in it."""
    rng = np.random.default_rng([seed, _PURPOSE_CLIP, *astuple(clip)])
    distance, height = 2.9 + 0.3 * (clip.setup % 5), 1.1 + 0.3 * (clip.setup % 4)
    camera = Camera(AZIMUTHS[clip.camera], distance * rng.uniform(0.97, 1.03), height)
    people = [camera.view(joints) for joints in perform(clip, seed, rng)]
    num_frames = len(people[0])
    ids = (_FIRST_BODY_ID + rng.choice(60000, 2 * len(people) + 1, replace=False)).tolist()
    tracks = []
    for person, joints in enumerate(people):
        table = joint_table(*measure(joints, people, rng))
        tracks += _split_track(ids[2 * person : 2 * person + 2], table, rng)
    if rng.random() < 0.06:
        tracks.append(_spurious_body(ids[-1], num_frames, rng))
    return num_frames, tracks


def _split_track(ids: list[int], table: np.ndarray, rng: np.random.Generator) -> list[BodyTrack]:
    """Return one track of a person, or now and then one with a gap, or two: back after the gap with another id."""
    frames = np.arange(len(table))
    if rng.random() >= 0.05:
        return [BodyTrack(ids[0], frames, table)]
    leaves = rng.integers(len(table) // 4, 3 * len(table) // 4)
    before, after = frames < leaves, frames >= leaves + rng.integers(3, 9)
    if rng.random() < 0.5:
        return [BodyTrack(ids[0], frames[before | after], table[before | after])]
    return [BodyTrack(ids[0], frames[before], table[before]), BodyTrack(ids[1], frames[after], table[after])]


def _spurious_body(body_id: int, num_frames: int, rng: np.random.Generator) -> BodyTrack:
    """Return what a sensor takes for a body: furniture, for at most ten frames."""
    length = rng.integers(3, 11)
    start = rng.integers(num_frames - length)
    shape = rng.normal(0, 1, (25, 3)) * (0.35, 0.12, 0.1) + (rng.choice([-1.2, 1.2]), -0.4, 3.5)
    joints = shape + rng.normal(0, 0.02, (length, 25, 3))
    return BodyTrack(body_id, start + np.arange(length), joint_table(joints, np.full((length, 25), INFERRED)))
