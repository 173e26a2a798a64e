"""The persons of clips: those whom a model takes, and each of them as a clip of its own."""

from dataclasses import dataclass

import numpy as np

from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.persons import choose_persons
from fastpose.data.pack.presence import present_joints
from fastpose.prediction.windows import regrouped


@dataclass(frozen=True, slots=True, eq=False)
class Persons:
    """Clips of one person each.

    Attributes:
        packed: a clip for each person, clip by clip, from the first to the last frame with a joint of theirs.
        clip_of: int64 [n], the clip that each is of.
        persons: int64 [n], who of that clip, from 0.
        first_frames: int64 [n], counted in that clip from 0.
    """

    packed: PackedClips
    clip_of: np.ndarray
    persons: np.ndarray
    first_frames: np.ndarray


def limit_persons(packed: PackedClips, most: int) -> PackedClips:
    """Return the clips with at most ``most`` persons, of more those of ``choose_persons``; itself if none has more."""
    if packed.max_persons <= most:
        return packed
    rows, num_persons = [], packed.num_persons.copy()
    for clip, start in enumerate(packed.offsets[:-1].tolist()):
        frames = np.arange(packed.num_frames[clip])
        persons = np.arange(num_persons[clip])[:, None]
        if len(persons) > most:
            held = packed.clip(clip)
            persons = choose_persons(held.keypoints, held.scores, most)
            num_persons[clip] = len(persons)
        rows.append((start + persons * len(frames) + frames).ravel())
    every = np.arange(packed.num_clips)
    return regrouped(packed, np.concatenate(rows), every, num_persons, packed.num_frames, packed.names)


def each_person(packed: PackedClips) -> Persons:
    """Return each person of the clips, however short they are seen, as a clip; those without joints are left out."""
    seen = np.any(present_joints(packed.keypoints, packed.scores), axis=1)
    found = []  # clip, person, first frame, number of frames, first row
    for clip, (start, persons, frames) in enumerate(
        zip(
            packed.offsets[:-1].tolist(), packed.num_persons.tolist(), packed.num_frames.tolist(), strict=True
        )
    ):
        of_clip = seen[start : start + persons * frames].reshape(persons, frames)
        for person in np.flatnonzero(of_clip.any(axis=1)).tolist():
            first, last = np.flatnonzero(of_clip[person])[[0, -1]].tolist()
            found.append((clip, person, first, last + 1 - first, start + person * frames + first))
    clip_of, persons, first_frames, num_frames, starts = np.array(found, np.int64).reshape(-1, 5).T
    rows = np.concatenate(
        [np.arange(start, start + frames) for start, frames in zip(starts, num_frames, strict=True)]
    )
    names = [f"{packed.names[clip]}#{person}" for clip, person in zip(clip_of, persons, strict=True)]
    ones = np.ones(len(found), np.int32)
    alone = regrouped(packed, rows, clip_of, ones, num_frames.astype(np.int32), names)
    return Persons(alone, clip_of, persons, first_frames)
