"""Clips that are the same in two splits."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.presence import present_joints


def equal_clips(
    packed: PackedClips, train_indices: NDArray[np.int64], test_indices: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Return (test, train) for each test clip whose keypoints and scores are, bit for bit, those of a training clip.

    Of several such training clips it is the first; names, labels and image sizes do not count. Clips without any
    joint tell nothing and are left out. Rows are read only of clips that agree in persons, frames and motion.
    """
    columns = packed.num_persons, packed.num_frames, packed.total_difference

    def facts(index: int) -> tuple[float, ...]:
        return tuple(column[index].item() for column in columns)

    shared = {facts(i) for i in train_indices} & {facts(i) for i in test_indices}
    first: dict[bytes, int] = {}
    for index in map(int, train_indices):
        if facts(index) in shared:
            first.setdefault(_digest(packed, index), index)
    pairs = []
    for index in map(int, test_indices):
        train = first.get(_digest(packed, index)) if facts(index) in shared else None
        if train is not None and present_joints(*_rows(packed, index)).any():
            pairs.append((index, train))
    return pairs


def _rows(packed: PackedClips, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the keypoints [rows, V, 2] and scores [rows, V] of a clip."""
    rows = slice(packed.offsets[index], packed.offsets[index + 1])
    return packed.keypoints[rows], packed.scores[rows]


def _digest(packed: PackedClips, index: int) -> bytes:
    """Return a hash of the shape, keypoints and scores of a clip."""
    content = hashlib.blake2b(b"%d %d" % (packed.num_persons[index], packed.num_frames[index]))
    for array in _rows(packed, index):
        content.update(array.data)
    return content.digest()
