"""A short name of what a pack holds, wherever its file lies."""

import hashlib

import numpy as np

from fastpose.data.pack.packed import PackedClips


def fingerprint(packed: PackedClips) -> str:
    """Return a hash of the clips, their classes and splits."""
    found = hashlib.sha256()
    for column in (packed.name_hashes, packed.labels, packed.num_frames, packed.total_difference):
        found.update(np.ascontiguousarray(column).tobytes())
    for name, clips in sorted(packed.splits.items()):
        found.update(name.encode() + np.ascontiguousarray(clips).tobytes())
    return found.hexdigest()
