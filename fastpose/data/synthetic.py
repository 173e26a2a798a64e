"""A synthetic stand-in for NTU RGB+D: real `.skeleton` files of a parametric human, deterministic by seed."""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from fastpose.data.synthetic_body import Build, Pose, mirror, pose_joints, rotation
from fastpose.data.synthetic_motion import DISTANCE, MOTIONS, Motion, Style, stand
from fastpose.data.synthetic_sensor import AZIMUTHS, INFERRED, Camera, clipped_edges, joint_table, measure

TRAIN_PERFORMERS = (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38)
TEST_PERFORMERS = tuple(number for number in range(1, 41) if number not in TRAIN_PERFORMERS)
FIRST_SETUP, NUM_SETUPS = 18, 15  # no name of NTU's lists of missing skeletons has a setup and action of ours
FRAMES = (36, 61)  # a clip's length, half-open
TARGET_SPREAD = 0.07  # standard deviation of where a hand goes, in arm lengths

_FIRST_BODY_ID = 72057594037927936
_PURPOSE_PERFORMER, _PURPOSE_CLIP = 0, 1
_DECIMALS = ((slice(0, 3), 6), (slice(3, 5), 4), (slice(5, 7), 3), (slice(7, 11), 6), (slice(11, 12), 0))


@dataclass(frozen=True, slots=True)
class ClipId:
    """The five numbers of an NTU name."""

    setup: int
    camera: int
    performer: int
    replication: int
    action: int

    @property
    def name(self) -> str:
        return f"S{self.setup:03}C{self.camera:03}P{self.performer:03}R{self.replication:03}A{self.action:03}"


def make_synthetic_ntu(
    folder: str | Path,
    *,
    seed: int = 0,
    num_train: int = 640,
    num_test: int = 224,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a data set of `.skeleton` files with NTU names, and return its folder.

    The 16 actions (three of them between two people) are balanced within each part. As in NTU's
    cross-subject split, 20 performers are for training and 20 others for testing. The same seed and counts
    give the same bytes, whatever ``processes`` is. The default is 864 files, 120 MB.

    Args:
        folder: must be new or empty; it appears only when complete.
        seed: 0 or more.
        num_train: clips of the training performers, at most 28,800.
        num_test: clips of the other performers, at most 28,800.
        processes: workers to share the load; by default, this process alone.
        progress: called with (clips done, clips in all) after each clip.

    Raises:
        ValueError: a count or the seed is out of range, or ``folder`` holds something already.
        OSError: the files cannot be written; nothing is left behind.
    """
    folder = Path(folder).absolute()
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    if processes is not None and processes < 1:
        raise ValueError(f"processes must be 1 or more, got {processes}")
    clips = plan_clips(TRAIN_PERFORMERS, num_train) + plan_clips(TEST_PERFORMERS, num_test)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} must be a new or an empty folder, but it holds something already")

    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    unfinished.mkdir(parents=True)
    try:
        write = partial(_write_clip, unfinished, seed)
        if (processes or 1) == 1:
            _report(map(write, clips), len(clips), progress)
        else:
            with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
                _report(pool.map(write, clips, chunksize=16), len(clips), progress)
        os.replace(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return folder


def _report(written: Iterator[None], total: int, progress: Callable[[int, int], None] | None) -> None:
    for done, _ in enumerate(written, 1):
        if progress is not None:
            progress(done, total)


def plan_clips(performers: tuple[int, ...], num_clips: int) -> list[ClipId]:
    """The first ``num_clips`` of the names these performers can have: balanced over actions, then over performers."""
    most = len(performers) * 2 * 3 * NUM_SETUPS * len(MOTIONS)
    if not 0 <= num_clips <= most:
        raise ValueError(
            f"the number of clips must be from 0 to {most} for {len(performers)} performers, got {num_clips}"
        )
    actions = list(MOTIONS)
    clips = []
    for index in range(num_clips):
        turn, column = divmod(index, len(actions))
        visit, person = divmod(turn, len(performers))
        person = (person + 7 * column) % len(performers)
        setup, visit = divmod(visit, 6)  # two replications before three cameras
        setup = FIRST_SETUP + (performers[person] + 4 * setup) % NUM_SETUPS
        camera = 1 + (visit + person + column) % 3
        clips.append(ClipId(setup, camera, performers[person], 1 + visit % 2, actions[column]))
    return clips


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
        """Joints [T, 25, 3] of one performance, standing at the origin and facing -z."""
        style = Style(
            rng, self.amplitude * rng.uniform(0.8, 1.2), self.tempo * rng.uniform(0.9, 1.1), TARGET_SPREAD
        )
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


def perform(clip: ClipId, seed: int, rng: np.random.Generator) -> list[np.ndarray]:
    """World joints [T, 25, 3] of each person, round the origin on the floor y = 0."""
    t = np.linspace(0, 1, rng.integers(*FRAMES))
    motions = MOTIONS[clip.action]
    people = [_Performer.draw(seed, clip.performer)]
    if len(motions) == 2:
        own = TRAIN_PERFORMERS if clip.performer in TRAIN_PERFORMERS else TEST_PERFORMERS
        others = [number for number in own if number != clip.performer]
        people.append(_Performer.draw(seed, others[rng.integers(len(others))]))

    facing = AZIMUTHS[1 + clip.replication] + rng.normal(0, 0.2)
    place = rng.normal(0, 0.2, 3) * (1, 0, 1)
    scene = []
    for person, motion, side in zip(people, motions, rng.permutation([-1, 1]), strict=False):
        joints = person.act(motion, t, rng, mirrored=len(motions) == 1 and person.left_handed)
        turn = facing
        if len(motions) == 2:
            turn += side * np.pi / 2  # the one at positive x looks to the left
            gap = DISTANCE[clip.action] * rng.uniform(0.92, 1.08)
            place_of_one = place + side * gap / 2 * np.array([np.cos(facing), 0, -np.sin(facing)])
        else:
            place_of_one = place
        scene.append(joints @ rotation(np.array([[0, turn, 0]]))[0].T + place_of_one)
    return scene


def record(clip: ClipId, seed: int) -> tuple[int, list[BodyTrack]]:
    """The number of frames of a clip and the bodies in it."""
    rng = np.random.default_rng([seed, _PURPOSE_CLIP, *astuple(clip)])
    distance, height = 2.9 + 0.3 * (clip.setup % 5), 1.1 + 0.3 * (clip.setup % 4)
    camera = Camera(AZIMUTHS[clip.camera], distance * rng.uniform(0.97, 1.03), height)
    people = [camera.view(joints) for joints in perform(clip, seed, rng)]
    num_frames = len(people[0])
    ids = _FIRST_BODY_ID + rng.choice(60000, 2 * len(people) + 1, replace=False)
    tracks = []
    for person, joints in enumerate(people):
        frames = np.arange(num_frames)
        table = joint_table(*measure(joints, people, rng))
        if rng.random() < 0.05:  # leaves for a moment, and may come back as somebody else
            start = rng.integers(num_frames // 4, 3 * num_frames // 4)
            stop = start + rng.integers(3, 9)
            back = ids[2 * person + rng.integers(2)]
            parts = [(ids[2 * person], frames < start), (back, frames >= stop)]
            if back == ids[2 * person]:
                parts = [(back, parts[0][1] | parts[1][1])]
        else:
            parts = [(ids[2 * person], frames >= 0)]
        tracks += [BodyTrack(int(body_id), frames[seen], table[seen]) for body_id, seen in parts]
    if rng.random() < 0.06:
        tracks.append(_spurious_body(int(ids[-1]), num_frames, rng))
    return num_frames, tracks


def _spurious_body(body_id: int, num_frames: int, rng: np.random.Generator) -> BodyTrack:
    """What a sensor takes for a body: furniture, for at most ten frames."""
    length = rng.integers(3, 11)
    start = rng.integers(num_frames - length)
    shape = rng.normal(0, 1, (25, 3)) * (0.35, 0.12, 0.1) + (rng.choice([-1.2, 1.2]), -0.4, 3.5)
    joints = shape + rng.normal(0, 0.02, (length, 25, 3))
    return BodyTrack(body_id, start + np.arange(length), joint_table(joints, np.full((length, 25), INFERRED)))


def _write_clip(folder: Path, seed: int, clip: ClipId) -> None:
    (folder / f"{clip.name}.skeleton").write_bytes(skeleton_text(*record(clip, seed)))


def skeleton_text(num_frames: int, tracks: list[BodyTrack]) -> bytes:
    """The `.skeleton` file of some bodies."""
    bodies = [[] for _ in range(num_frames)]
    blocks = iter(_joint_blocks(np.concatenate([track.table for track in tracks])))
    for track in tracks:
        lean = (track.table[:, 20, :3] - track.table[:, 0, :3]) * 1.4
        for frame, edges, (x, _, z) in zip(
            track.frames, clipped_edges(track.table), lean.clip(-1, 1), strict=True
        ):
            bodies[frame].append(
                b"%d %d 0 0 0 0 0 %.5f %.5f 2\n25\n" % (track.body_id, edges, x, -z) + next(blocks)
            )
    frames = [b"%d\n" % len(of_frame) + b"".join(of_frame) for of_frame in bodies]
    return b"%d\n" % num_frames + b"".join(frames)


def _joint_blocks(table: np.ndarray) -> list[bytes]:
    """The text of each body of a table [n, 25, 12]: 25 lines of 12 numbers, with at most 7 significant digits."""
    cells = np.zeros(
        (len(table), 25, 12, 10), np.uint8
    )  # sign, 7 digits and a point, separator; 0 is nothing
    for columns, decimals in _DECIMALS:
        scaled = np.rint(np.abs(table[..., columns]) * 10**decimals).astype(np.int32)
        assert scaled.max(initial=0) < 10**7
        cell = cells[..., columns, :]
        cell[..., 0] = np.where((table[..., columns] < 0) & (scaled > 0), ord("-"), 0)
        written = np.zeros(scaled.shape, bool)  # a digit other than 0 stands to the right of here
        place = 8
        for power in range(7):
            if power == decimals:
                if decimals:
                    cell[..., place] = np.where(written, ord("."), 0)
                    place -= 1
                written[:] = True
            scaled, digit = scaled // 10, scaled % 10
            written |= digit > 0
            wanted = written & ((scaled > 0) | (digit > 0) | (power <= decimals))
            cell[..., place] = np.where(wanted, digit + ord("0"), 0)
            place -= 1
    cells[..., 9] = ord(" ")
    cells[..., 11, 9] = ord("\n")
    ends = (cells != 0).sum((1, 2, 3)).cumsum().tolist()
    text = cells[cells != 0].tobytes()
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
