"""Detections of single frames linked to persons through time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastpose.data.pack.persons import (
    MAX_PAUSE,
    Poses,
    assign,
    rank_persons,
    share_slots_of_frames,
    similarity,
    similarity_in_turn,
)
from fastpose.data.pack.presence import given_joints

MAX_FILL = 5  # frames; over a longer pause, a limb does more than move in a straight line
LEAST_SIMILARITY = 0.03  # joints that are half a body's size away, in the mean
MOST_REPEATED = 0.5  # of the frames with several persons: AlphaPose without a tracker gives everyone the id 0
CERTAIN = 0.5  # joints that are a tenth of a body's size away: the same person, wherever they were going
DUPLICATE = 0.9  # joints that are 3 % of the body's size away: no two persons stand like this
STEADINESS = 0.5  # of a person's speed; the rest is what the newest frame says
SLOWDOWN = 0.8  # of the speed of someone unseen, for each frame


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The persons that a detector found in one frame.

    Attributes:
        keypoints: [N, V, 2], pixels; N may be 0.
        scores: [N, V]; None if it gave none.
        ids: int64 [N], from a tracker; None without one.
    """

    keypoints: NDArray[np.floating]
    scores: NDArray[np.floating] | None = None
    ids: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Linked:
    """Persons through time, those who matter most first (``rank_persons``).

    Attributes:
        keypoints: float32 [M, T, V, 2], pixels; 0 where a person is absent.
        scores: float32 [M, T, V]; 0 where a joint is missing or the person absent.
        ids: int64 [M]: the tracker's, or numbers in order of appearance; of those who share a slot, the first
            one's.
        num_repeated: detections left out, since their frame has the same person, or id, with higher scores.
        num_left_out: persons left out for want of a slot.
    """

    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]
    ids: NDArray[np.int64]
    num_repeated: int = 0
    num_left_out: int = 0


def link(
    frames: Sequence[Detections],
    *,
    max_pause: int = MAX_PAUSE,
    max_fill: int = MAX_FILL,
    max_persons: int | None = None,
    share: bool | None = None,
) -> Linked:
    """Link the detections of a clip's frames, in order, to persons.

    If every frame with detections has ids, these are kept, unless most frames with several detections have an id
    twice. Otherwise persons are followed by ``Linker``, and ids are ignored. A person who is not seen for some frames
    is filled in on a straight line, with the smaller score of both ends: a network samples few frames of a clip, and
    one in which everyone is absent tells it nothing. Joints that a detection lacks stay missing.

    Args:
        frames: one for each frame, T in all.
        max_pause: frames that a person may be unseen, and still be the same; of use without ids.
        max_fill: frames of the longest pause that is filled; 0 fills none.
        max_persons: the most to keep. Of more, those who are never seen together share a slot (``share_slots``), and
            the rest is left out.
        share: those who are never seen together always share a slot. By default so without ids: someone new may be
            someone who came back, whereas a tracker knows.

    Raises:
        ValueError: there is no frame, or a frame's arrays do not fit; the text names the frame.
    """
    return link_rows(
        *_stacked(frames), len(frames),
        max_pause=max_pause, max_fill=max_fill, max_persons=max_persons, share=share,
    )  # fmt: skip


def link_rows(
    keypoints: NDArray[np.floating],
    scores: NDArray[np.floating] | None,
    ids: NDArray[np.int64] | None,
    frame_of: NDArray[np.int64],
    num_frames: int,
    *,
    max_pause: int = MAX_PAUSE,
    max_fill: int = MAX_FILL,
    max_persons: int | None = None,
    share: bool | None = None,
) -> Linked:
    """Return ``link`` of detections that are rows of arrays already.

    Args:
        keypoints: [n, V, 2], frame by frame.
        scores: [n, V], or None.
        ids: int64 [n], or None.
        frame_of: int64 [n], 0..T-1, ascending.
        num_frames: T.
    """
    keypoints, scores = clean_detections(keypoints, scores)
    persons = None if ids is None else _distinct_ids(ids, scores, frame_of)
    share = persons is None if share is None else share
    if persons is None:
        counts = np.bincount(frame_of, minlength=num_frames).tolist()
        persons = _followed(Poses.of(keypoints, scores), scores.sum(axis=1), counts, max_pause)
    return lay_out(
        keypoints, scores, frame_of, persons, num_frames,
        share=share, max_fill=max_fill, max_persons=max_persons,
    )  # fmt: skip


def lay_out(
    keypoints: NDArray[np.float32],
    scores: NDArray[np.float32],
    frame_of: NDArray[np.int64],
    persons: NDArray[np.int64],
    num_frames: int,
    *,
    share: bool,
    max_fill: int = MAX_FILL,
    max_persons: int | None = None,
) -> Linked:
    """Return detections whose persons are known as [M, T, V, 2]; for the rest see ``link``.

    Args:
        keypoints, scores: [n, V, 2] and [n, V], as ``clean_detections`` returns them.
        frame_of: int64 [n], 0..T-1.
        persons: int64 [n]: numbers from 0, or ``REPEATED`` for those to be left out; no person twice in a frame.
        num_frames: T.
    """
    kept = np.flatnonzero((persons >= 0) & (scores > 0).any(axis=1))
    kept = kept[np.lexsort((frame_of[kept], persons[kept]))]  # person by person, in order of time
    num_repeated = int(np.count_nonzero(persons == REPEATED))
    names, rows_of = np.unique(persons[kept], return_inverse=True)
    keypoints, scores, frame_of, rows_of = _filled(
        keypoints[kept], scores[kept], frame_of[kept], rows_of, max_fill
    )
    starts = np.flatnonzero(np.diff(rows_of, prepend=-1))
    order = rank_persons(keypoints, scores, starts) if len(starts) else starts
    most = len(order) if max_persons is None else max_persons
    if share or len(order) > most:
        frames = np.split(frame_of, starts[1:]) if len(starts) else []
        slots = share_slots_of_frames(frames, num_frames, order, most)
    else:
        slots = np.argsort(order)
    num_slots, num_joints = slots.max(initial=-1) + 1, keypoints.shape[1]
    placed = Linked(
        np.zeros((num_slots, num_frames, num_joints, 2), np.float32),
        np.zeros((num_slots, num_frames, num_joints), np.float32),
        np.empty(num_slots, np.int64),
        num_repeated,
        int(np.count_nonzero(slots < 0)),
    )
    last_first = order[slots[order] >= 0][::-1]
    placed.ids[slots[last_first]] = names[last_first]  # of those who share a slot, the first one's stays
    rows_of = slots[rows_of]
    seen = rows_of >= 0
    placed.keypoints[rows_of[seen], frame_of[seen]] = keypoints[seen]
    placed.scores[rows_of[seen], frame_of[seen]] = scores[seen]
    return placed


def clean_detections(
    keypoints: NDArray[np.number], scores: NDArray[np.number] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return keypoints [n, V, 2] and scores [n, V] as float32 without NaN, scores 0 where ``given_joints`` says so."""
    with np.errstate(over="ignore"):
        points = np.array(keypoints, np.float32)
        weights = np.ones(points.shape[:2], np.float32) if scores is None else np.array(scores, np.float32)
    weights[~given_joints(points, weights)] = 0
    points[~np.isfinite(points).all(axis=-1)] = 0
    return points, weights


NOBODY, REPEATED = -1, -2  # persons of detections without joints, and of those left out as repetitions


class Linker:
    """Follows persons from frame to frame; what it holds is bounded by the persons of the last frames.

    A person is looked for where a steady, slowing walk would have led. Detections are assigned so that the
    similarities (``similarity``) of all add up to the most, none below 0.03. A detection that fits nobody is a new
    person, unless it is nearly another detection of the frame.

    Args:
        max_pause: frames after which someone unseen is forgotten.
    """

    def __init__(self, max_pause: int = MAX_PAUSE) -> None:
        self.max_pause = max_pause
        self._reaches = np.cumsum(SLOWDOWN ** np.arange(max_pause + 1)).astype(np.float32)
        self._num_persons = 0
        self._tracks: _Tracks | None = None

    def step(self, poses: Poses, weights: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the person of each of a frame's N detections, int64 [N], counted from 0 in order of appearance.

        Detections without joints are -1 (``NOBODY``), repetitions of another detection -2 (``REPEATED``).

        Args:
            poses: the detections.
            weights: [N], their scores: which of two new ones that are nearly the same is kept.
        """
        persons = np.full(len(poses), NOBODY)
        left = poses.num_seen > 0
        tracks = self._tracks
        if tracks is not None:
            found, rows = tracks.match(poses, self._reaches[tracks.pauses])
            persons[found] = tracks.persons[rows]
            left[found] = False
            tracks = tracks.continued(poses, found, rows, self.max_pause)
        if left.any():
            repeated = _repeated(poses, left, weights)
            persons[repeated] = REPEATED
            new = np.flatnonzero(left & ~repeated)
            persons[new] = self._num_persons + np.arange(len(new))
            self._num_persons += len(new)
            started = _Tracks.started(poses[new], persons[new])
            tracks = started if tracks is None else tracks.joined(started)
        self._tracks = tracks if tracks is not None and len(tracks.persons) else None
        return persons


@dataclass(frozen=True, slots=True)
class _Tracks:
    """Persons who were seen a short while ago: their last poses, numbers, speeds [n, 2], and frames unseen since."""

    poses: Poses
    persons: NDArray[np.int64]
    speeds: NDArray[np.float32]
    pauses: NDArray[np.int64]

    @classmethod
    def started(cls, poses: Poses, persons: NDArray[np.int64]) -> "_Tracks":
        num = len(poses)
        return cls(poses, persons, np.zeros((num, 2), np.float32), np.zeros(num, np.int64))

    def match(
        self, poses: Poses, reaches: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the detections that are someone here, and who, as rows; ``reaches`` [n] are steps walked since."""
        alike = similarity(poses, self.poses.moved(self.speeds * reaches[:, None]))
        alike[alike < LEAST_SIMILARITY] = 0
        found, rows = assign(-alike)
        close = alike[found, rows] > 0
        return found[close], rows[close]

    def continued(
        self, poses: Poses, found: NDArray[np.int64], rows: NDArray[np.int64], max_pause: int
    ) -> "_Tracks":
        """Return the persons after a frame: ``rows`` have the poses ``found``, the others wait or are forgotten."""
        if len(found) < len(poses):
            poses = poses[found]
        both = poses.seen * self.poses.seen[rows]
        num_both = both.sum(axis=1)[:, None]
        step = np.einsum("ncv,nv->nc", poses.points - self.poses.points[rows], both)
        step /= np.maximum(num_both, 1) * (self.pauses[rows, None] + 1)
        speeds = self.speeds[rows]
        speeds += (num_both > 0) * (1 - STEADINESS) * (step - speeds)
        met = _Tracks(poses, self.persons[rows], speeds, np.zeros(len(rows), np.int64))
        if len(rows) == len(self.persons):
            return met
        waiting = self.pauses < max_pause
        waiting[rows] = False
        rest = _Tracks(
            self.poses[waiting], self.persons[waiting], self.speeds[waiting], self.pauses[waiting] + 1
        )
        return met.joined(rest)

    def joined(self, other: "_Tracks") -> "_Tracks":
        """Return these and those."""
        parts = zip(self.poses.parts(), other.poses.parts(), strict=True)
        return _Tracks(
            Poses(*map(np.concatenate, parts)),
            np.concatenate([self.persons, other.persons]),
            np.concatenate([self.speeds, other.speeds]),
            np.concatenate([self.pauses, other.pauses]),
        )


def _repeated(poses: Poses, new: NDArray[np.bool_], weights: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which of the ``new`` poses are nearly one that is not, or a new one of more weight, bool [N]."""
    order = np.lexsort((-weights, new))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    alike = (similarity(poses, poses) >= DUPLICATE) & new[:, None]
    return np.any(alike & (rank[:, None] > rank), axis=1)


def _followed(
    poses: Poses, weights: NDArray[np.floating], counts: Sequence[int], max_pause: int
) -> NDArray[np.int64]:
    """Return the person of every detection; ``counts`` are the detections of each frame."""
    if _is_one_person(poses, counts, max_pause):
        return np.zeros(len(poses), np.int64)
    linker = Linker(max_pause)
    persons = np.empty(len(poses), np.int64)
    start = 0
    for count in counts:
        rows = slice(start, start + count)
        persons[rows] = linker.step(poses[rows], weights[rows])
        start += count
    return persons


def _is_one_person(poses: Poses, counts: Sequence[int], max_pause: int) -> bool:
    """Return whether no frame has two detections, and each is much like the one before: most clips, told at once."""
    if not len(poses) or max(counts) > 1 or (poses.num_seen == 0).any():
        return False
    frames = np.flatnonzero(counts)
    if (np.diff(frames) > max_pause + 1).any():
        return False
    return bool((similarity_in_turn(poses[:-1], poses[1:]) >= CERTAIN).all())


def _stacked(
    frames: Sequence[Detections],
) -> tuple[NDArray[np.floating], NDArray[np.floating] | None, NDArray[np.int64] | None, NDArray[np.int64]]:
    """Return all detections: keypoints [n, V, 2], scores [n, V], ids [n] if all frames have them, frames [n]."""
    if not frames:
        raise ValueError("there is no frame to link")
    num_joints = next((frame.keypoints.shape[1] for frame in frames if len(frame.keypoints)), None)
    for index, frame in enumerate(frames):
        shape = frame.keypoints.shape
        if len(frame.keypoints) and (len(shape) != 3 or shape[1:] != (num_joints, 2)):
            raise ValueError(f"frame {index}: keypoints must be [N, {num_joints}, 2], got {list(shape)}")
        for field, expected in (("scores", shape[:2]), ("ids", shape[:1])):
            value = getattr(frame, field)
            if value is not None and len(frame.keypoints) and value.shape != expected:
                raise ValueError(f"frame {index}: {field} must be {list(expected)}, got {list(value.shape)}")
    frame_of = np.repeat(np.arange(len(frames)), [len(frame.keypoints) for frame in frames])
    given = [frame for frame in frames if len(frame.keypoints)] or frames[:1]
    of_frames = [frame.scores for frame in given if frame.scores is not None]
    if len(of_frames) not in (0, len(given)):
        raise ValueError("scores must be given for all frames, or for none")
    keypoints = np.concatenate([frame.keypoints for frame in given])
    ids = [frame.ids for frame in given if frame.ids is not None]
    scores = np.concatenate(of_frames) if of_frames else None
    return keypoints, scores, np.concatenate(ids) if len(ids) == len(given) else None, frame_of


def _distinct_ids(
    ids: NDArray[np.int64], scores: NDArray[np.float32], frame_of: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """Return ids, ``REPEATED`` for the lower-scored of an id twice in a frame; None if they are nobody's."""
    if not len(ids):
        return None
    ids = ids.astype(np.int64)
    if ids.min() < 0:
        return None  # trackers mark those whom they have lost by -1
    best = np.lexsort((-scores.sum(axis=1), ids, frame_of))
    again = (np.diff(ids[best]) == 0) & (np.diff(frame_of[best]) == 0)
    num_several = np.count_nonzero(np.bincount(frame_of) > 1)
    if len(np.unique(frame_of[best[1:][again]])) > MOST_REPEATED * num_several:
        return None
    ids[best[1:][again]] = REPEATED
    return ids


def _filled(
    keypoints: NDArray[np.float32],
    scores: NDArray[np.float32],
    frame_of: NDArray[np.int64],
    persons: NDArray[np.int64],
    max_fill: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return rows, person by person in order of time, with those of pauses of up to ``max_fill`` frames."""
    missing = np.diff(frame_of) - 1
    missing[(np.diff(persons) != 0) | (missing > max_fill)] = 0
    before = np.repeat(np.arange(len(missing)), missing)  # the row before each new one
    if not len(before):
        return keypoints, scores, frame_of, persons
    step = np.arange(len(before)) - np.repeat(np.cumsum(missing) - missing, missing) + 1
    share = (step / (missing[before] + 1)).astype(np.float32)[:, None, None]
    after = before + 1
    between = keypoints[before] + share * (keypoints[after] - keypoints[before])
    ends = np.minimum(scores[before], scores[after])
    between[ends <= 0] = 0
    at = before + 1
    return (
        np.insert(keypoints, at, between, axis=0),
        np.insert(scores, at, ends, axis=0),
        np.insert(frame_of, at, frame_of[before] + step),
        np.insert(persons, at, persons[before]),
    )
