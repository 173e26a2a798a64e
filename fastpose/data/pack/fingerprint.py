"""A short name of what a pack holds, wherever its file lies."""

import hashlib
import json
from dataclasses import asdict

import numpy as np

from fastpose.data.pack.packed import PackedClips

FORM = "2:"  # before the hash; another one where another form of this package was at work
_PLACES, _ROWS = 512, 32  # of keypoints that are taken in: all of a large pack would be read for seconds


def fingerprint(packed: PackedClips) -> str:
    """Return a hash of the clips, their classes, splits and layout, and of keypoints and scores in places of them."""
    found = hashlib.sha256(json.dumps([packed.class_names, asdict(packed.layout)]).encode())
    places = np.linspace(0, max(len(packed.keypoints) - _ROWS, 0), _PLACES).astype(np.int64)
    rows = np.unique((places[:, None] + np.arange(_ROWS)).clip(max=len(packed.keypoints) - 1))
    for column in (
        packed.name_hashes, packed.labels, packed.num_frames, packed.num_persons, packed.image_sizes,
        packed.total_difference, packed.keypoints[rows], packed.scores[rows],
    ):  # fmt: skip
        found.update(np.ascontiguousarray(column).tobytes())
    for name, clips in sorted(packed.splits.items()):
        found.update(name.encode() + np.ascontiguousarray(clips).tobytes())
    return FORM + found.hexdigest()
