"""From checked clips to the flat arrays of a pack."""

import hashlib
import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastpose.data.core import core
from fastpose.data.pack.clip_check import CheckedClip, check_name
from fastpose.data.pack.layouts import Layout
from fastpose.data.pack.limits import MOST_CLASSES
from fastpose.data.pack.presence import given_joints
from fastpose.settings.short_text import short


def name_hash(name: str) -> int:
    """Return the 64-bit hash of a clip's name: what its random numbers are counted by, whatever pack it is in."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def class_name_tuple(class_names: Sequence[str] | int | None, labels: np.ndarray | None) -> tuple[str, ...]:
    """Return class names as given, or numbered: as many as the int given, else the largest label + 1.

    Raises:
        ValueError: names that are no distinct strings, or a number below 1 or above 20,000.
    """
    if class_names is None:
        assert labels is not None
        class_names = int(labels.max()) + 1
    if isinstance(class_names, int) and not isinstance(class_names, bool):
        if not 1 <= class_names <= MOST_CLASSES:
            raise ValueError(
                f"the number of classes must be at least 1 and at most {MOST_CLASSES:,}, "
                f"got {short(class_names)}"
            )
        return tuple(f"class_{k}" for k in range(class_names))
    if isinstance(class_names, str | bool) or not all(isinstance(name, str) and name for name in class_names):
        raise ValueError(f"class_names must be non-empty strings or their number, got {short(class_names)}")
    if not class_names or len(set(class_names)) != len(class_names):
        raise ValueError("class_names must be one or more distinct names")
    for name in class_names:
        check_name(name, "a class")
    if len(class_names) > MOST_CLASSES:
        raise ValueError(f"there are {len(class_names):,} class_names, expected at most {MOST_CLASSES:,}")
    return tuple(class_names)


def clean_into(clip: CheckedClip, out_keypoints: np.ndarray, out_scores: np.ndarray) -> None:
    """Write float32 keypoints [M, T, V, 2] and scores [M, T, V] without NaN: a missing joint has score 0.

    Missing is what ``given_joints`` says, also by overflow of float32. Non-finite coordinates become (0, 0); finite
    ones of missing joints stay.
    """
    with np.errstate(over="ignore"):
        out_keypoints[...] = clip.keypoints
        out_scores[...] = 1 if clip.scores is None else clip.scores
    finite = np.isfinite(out_keypoints).all(axis=-1)
    if not finite.all():
        out_keypoints[~finite] = 0
    given = given_joints(out_keypoints, out_scores, clip.min_score, marked=clip.marked)
    if not given.all():
        out_scores[~given] = 0


def build_splits(
    names: Sequence[str],
    own: Sequence[str | None],
    splits: Mapping[str, Iterable[str | int]] | None,
) -> dict[str, np.ndarray]:
    """Return int64 clip indices per split, from the clips' own split names and from ``splits`` (names or indices).

    Raises:
        ValueError: an unknown clip, a clip twice in a split, or a split given in both ways.
    """
    result: dict[str, list[int]] = {}
    for index, split in enumerate(own):
        if split is not None:
            result.setdefault(split, []).append(index)
    index_of = {name: index for index, name in enumerate(names)}
    for split, members in (splits or {}).items():
        if not isinstance(split, str) or not split:
            raise ValueError(f"a split's name must be a non-empty string, got {short(split)}")
        check_name(split, "a split")
        if split in result:
            raise ValueError(f"split {split!r} is given both by the clips themselves and by splits")
        if isinstance(members, str):
            raise ValueError(f"split {split!r} must be a list of clip names or indices, got {members!r}")
        result[split] = [_member_index(member, split, index_of) for member in members]
        if len(set(result[split])) != len(result[split]):
            twice = Counter(result[split]).most_common(1)[0][0]
            raise ValueError(f"split {split!r} holds clip {names[twice]!r} twice")
    return {split: np.array(members, dtype=np.int64) for split, members in result.items()}


def _member_index(member: Any, split: str, index_of: Mapping[str, int]) -> int:
    if isinstance(member, str):
        if member not in index_of:
            raise ValueError(f"split {split!r} names clip {member!r}, which is not among the clips")
        return index_of[member]
    try:
        index = operator.index(member)
    except TypeError:
        raise ValueError(f"split {split!r} must hold clip names or indices, got {member!r}") from None
    if not 0 <= index < len(index_of):
        raise ValueError(f"split {split!r} holds clip {index}, but there are {len(index_of)} clips")
    return index


def differences(
    keypoints: np.ndarray, scores: np.ndarray, offsets: np.ndarray, num_frames: np.ndarray
) -> np.ndarray:
    """Return float64 [n]: D of each clip's first person, raw pixels (see ``fastpose.data.total_difference``)."""
    return core.total_differences(keypoints, scores, offsets, num_frames, core.hardware_threads())


def assemble(
    clips: Sequence[CheckedClip],
    layout: Layout,
    class_names: Sequence[str] | int | None,
    splits: Mapping[str, Iterable[str | int]] | None,
    source: str,
    progress: bool = False,
) -> dict[str, Any]:
    """Lay checked clips end to end: the fields of ``PackedClips``; ``progress`` shows a bar.

    Raises:
        ValueError: no clip, two clips of one name, a label without a class, or splits that do not fit.
    """
    from tqdm import tqdm

    if not clips:
        raise ValueError("there is no clip to pack")
    names = [clip.name for clip in clips]
    labels = np.array([clip.label for clip in clips], dtype=np.int64)
    num_persons = np.array([clip.keypoints.shape[0] for clip in clips], dtype=np.int32)
    num_frames = np.array([clip.keypoints.shape[1] for clip in clips], dtype=np.int32)
    offsets = row_offsets(num_persons, num_frames)
    keypoints = np.empty((offsets[-1], layout.num_joints, 2), np.float32)
    scores = np.empty((offsets[-1], layout.num_joints), np.float32)
    shown = tqdm(clips, unit=" clips", desc="packing", disable=not progress)
    for clip, (start, stop) in zip(shown, pairwise(offsets.tolist()), strict=True):
        shape = clip.keypoints.shape
        clean_into(clip, keypoints[start:stop].reshape(shape), scores[start:stop].reshape(shape[:3]))
    return {
        "keypoints": keypoints,
        "scores": scores,
        "offsets": offsets,
        "num_persons": num_persons,
        "num_frames": num_frames,
        "labels": labels,
        "image_sizes": np.array([clip.image_size for clip in clips], dtype=np.int32),
        "name_hashes": np.array([name_hash(name) for name in names], dtype=np.uint64),
        "total_difference": differences(keypoints, scores, offsets, num_frames),
        "names": names,
        "splits": build_splits(names, [clip.split for clip in clips], splits),
        "layout": layout,
        "class_names": class_name_tuple(class_names, labels),
        "source": source,
    }


def row_offsets(num_persons: np.ndarray, num_frames: np.ndarray) -> np.ndarray:
    """Return int64 [n + 1]: clip i is rows ``offsets[i]:offsets[i + 1]``."""
    rows = num_persons.astype(np.int64) * num_frames
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(rows)])
