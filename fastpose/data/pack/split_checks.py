"""What is odd about the clips that a model is trained and measured on."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastpose.data.pack.duplicates import equal_clips
from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.presence import present_joints

MOST_NAMES = 10
CLIPS_AT_ONCE = 1024


def odd_splits(packed: PackedClips, train: NDArray[np.int64], test: NDArray[np.int64]) -> list[str]:
    """Return a sentence for each thing that makes the accuracy on ``test`` clips less than it seems, or more.

    These are classes without clips, a single class, clips that are measured and trained on, and clips without joints.

    Raises:
        ValueError: no clip of ``train``, or none of ``test``, has any joint.
    """
    empty = clips_without_joints(packed)
    for name, indices in (("train", train), ("measure", test)):
        if empty[indices].all():
            raise ValueError(
                f"all joints of the {_count(len(indices), 'clip')} to {name} on are missing (first clip "
                f"{packed.names[indices[0]]!r}); expected scores > 0 where a joint was seen"
            )
    return [
        *_odd_classes(packed, train, test),
        *_known_clips(packed, train, test),
        *_empty_clips(packed, train[empty[train]], len(train), "train"),
        *_empty_clips(packed, test[empty[test]], len(test), "measure"),
    ]


def clips_without_joints(packed: PackedClips) -> NDArray[np.bool_]:
    """Return which clips [n] have no joint of any person in any frame."""
    empty = np.empty(packed.num_clips, bool)
    for begin in range(0, packed.num_clips, CLIPS_AT_ONCE):
        clips = slice(begin, min(begin + CLIPS_AT_ONCE, packed.num_clips))
        first, last = packed.offsets[clips.start], packed.offsets[clips.stop]
        seen = present_joints(packed.keypoints[first:last], packed.scores[first:last]).any(axis=1)
        empty[clips] = ~np.logical_or.reduceat(seen, packed.offsets[clips] - first)
    return empty


def _odd_classes(packed: PackedClips, train: NDArray[np.int64], test: NDArray[np.int64]) -> list[str]:
    trained = np.bincount(packed.labels[train], minlength=packed.num_classes)
    measured = np.bincount(packed.labels[test], minlength=packed.num_classes)
    sentences = []
    if np.count_nonzero(trained) == 1:
        name = packed.class_names[int(trained.argmax())]
        sentences.append(
            f"all {len(train)} training clips are of one class, {name!r}: there is nothing to tell apart"
        )
    unused = np.flatnonzero(trained + measured == 0)
    if len(unused):
        sentences.append(
            f"{len(unused)} of {packed.num_classes} classes have no clip: {_names(packed, unused)}"
        )
    unknown = np.flatnonzero((trained == 0) & (measured > 0))
    if len(unknown):
        several = len(unknown) > 1
        sentences.append(
            f"{'classes' if several else 'class'} {_names(packed, unknown)} {'have' if several else 'has'} no training "
            f"clip: {measured[unknown].sum()} of the {len(test)} clips to measure on are of "
            f"{'them' if several else 'it'}, and can only be wrong"
        )
    return sentences


def _known_clips(packed: PackedClips, train: NDArray[np.int64], test: NDArray[np.int64]) -> list[str]:
    pairs = equal_clips(packed, train, test)
    if not pairs:
        return []
    one, other = (packed.names[index] for index in pairs[0])
    first = repr(one) if one == other else f"{one!r}, which is {other!r}"
    return [
        f"{len(pairs)} of the {len(test)} clips to measure on are trained on as well (first {first}): "
        "what is measured on them was learned by heart"
    ]


def _empty_clips(packed: PackedClips, empty: NDArray[np.int64], total: int, use: str) -> list[str]:
    if not len(empty):
        return []
    return [
        f"all joints are missing in {len(empty)} of the {total} clips to {use} on (first {packed.names[empty[0]]!r})"
    ]


def _names(packed: PackedClips, classes: Sequence[int] | NDArray[np.int64]) -> str:
    shown = ", ".join(repr(packed.class_names[k]) for k in classes[:MOST_NAMES])
    return shown if len(classes) <= MOST_NAMES else f"{shown} and {len(classes) - MOST_NAMES} more"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
