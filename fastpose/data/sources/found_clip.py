"""A clip as a file holds it, before it is checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastpose.data.pack.layouts import Layout
from fastpose.data.pack.limits import MOST_DETECTIONS
from fastpose.data.sources.linking import link_rows

MOST_PERSONS = 10  # of a clip, in slots that those share who are never seen together
# Frame numbers that lie farther apart, for each frame that there is, are numbers of images.
_MOST_GAPS = 100
_MOST_JOINTS, _MOST_GROWTH = 2**23, 64  # of a clip, at least; and for each joint that was detected


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundClip:
    """What a file says of a clip; None where it does not say.

    Attributes:
        name: without one, the file names the clip.
        keypoints: [M, T, V, 2] or [M, T, V, 3], or [T, V, …] of one person; arrays or nested lists.
        scores: [M, T, V] or [T, V].
        image_size: (h, w).
        layout: what the V joints are, or the name of that.
        usual_layout: name of what V joints usually are in a form that does not say.
        label: class number, or name.
        split: name.
        normalised: coordinates are known to be shares of the image.
        metres: joints are known to be in metres.
        persons_first: M is known to be the number of persons.
        notes: what was taken to be what, a sentence each.
        fault: why this one of the file's clips cannot be used.
    """

    keypoints: Any
    name: str | None = None
    scores: Any = None
    image_size: Any = None
    layout: Layout | str | None = None
    usual_layout: str | None = None
    label: Any = None
    split: str | None = None
    normalised: bool = False
    metres: bool = False
    persons_first: bool = False
    notes: tuple[str, ...] = ()
    fault: str | None = None


def clip_of_detections(
    frames: Sequence[int],
    keypoints: np.ndarray,
    scores: np.ndarray,
    ids: Sequence[int | None] | None = None,
    listed: Sequence[int] = (),
    **fields: Any,
) -> FoundClip:
    """Link detections to persons over time.

    Args:
        frames: the frame of each of n detections, in any order.
        keypoints: [n, V, 2].
        scores: [n, V].
        ids: the person of each detection, where its file says; used if it says so of all.
        listed: frames that the file lists beside these, with nobody in them.
        fields: of the clip, beside keypoints and scores.

    Raises:
        ValueError: there is no detection, or more in a frame than any picture shows; or frames are numbered so that the
            clip would be far larger than what was detected.
    """
    if not len(frames):
        raise ValueError("nobody was detected in any frame")
    persons = None if ids is None or any(person is None for person in ids) else np.array(ids, np.int64)
    numbers = np.array(frames, np.int64)
    known = np.unique(np.concatenate([numbers, np.array(listed, np.int64)]))
    span = int(known[-1]) - int(known[0]) + 1  # which int64 need not hold
    if span > _MOST_GAPS * len(known):
        places, length = np.searchsorted(known, numbers), len(known)
    else:
        places, length = numbers - known[0], span
    most = int(np.bincount(np.searchsorted(known, numbers)).max())
    if most > MOST_DETECTIONS:
        raise ValueError(f"{most:,} persons in one frame, expected at most {MOST_DETECTIONS:,}")
    joints = min(most, MOST_PERSONS) * length * scores.shape[1]
    if joints > _MOST_JOINTS and joints > _MOST_GROWTH * scores.size:
        raise ValueError(
            f"{len(numbers):,} detections in {length:,} frames would make a clip of {joints:,} joints, nearly all of "
            "them missing; divide it into several"
        )
    order = np.argsort(places, kind="stable")
    linked = link_rows(
        keypoints[order], scores[order], None if persons is None else persons[order], places[order], length,
        max_persons=MOST_PERSONS,
    )  # fmt: skip
    notes = tuple(fields.pop("notes", ()))
    if linked.num_left_out:
        notes += (f"only the {MOST_PERSONS} persons seen most were kept",)
    return FoundClip(
        keypoints=linked.keypoints, scores=linked.scores, persons_first=True, notes=notes, **fields
    )


def split_flat(rows: Sequence[Sequence[float]], what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return keypoints float64 [n, V, 2] and scores [n, V] of flat lists x, y, score, x, y, score, ….

    Raises:
        ValueError: a list of another length than the first, or not of whole joints; or no numbers.
    """
    lengths = sorted(set(map(len, rows)))
    if len(lengths) != 1 or lengths[0] % 3 or not lengths[0]:
        raise ValueError(
            f"{what} must hold x, y, score of equally many joints each, got lists of {lengths[:4]} numbers"
        )
    try:
        joints = np.array(rows, dtype=np.float64).reshape(len(rows), -1, 3)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{what} must be flat lists of numbers x, y, score") from None
    return joints[..., :2], joints[..., 2]


def frame_number(name: object) -> tuple[str, int] | None:
    """Return the text before the last number of a frame's name ("a_0012.jpg": "a_", 12), None without a number.

    A number is itself, of the video "".
    """
    if isinstance(name, int) and not isinstance(name, bool):
        return "", name
    if not isinstance(name, str):
        return None
    end = name.rfind(".") if "." in name.rpartition("/")[2] else len(name)
    stem = name[: end if end > 0 else len(name)]
    digits = len(stem)
    while digits and stem[digits - 1].isdecimal() and stem[digits - 1].isascii():
        digits -= 1
    if digits == len(stem) or len(stem) - digits > 18:
        return None
    return stem[:digits], int(stem[digits:])
