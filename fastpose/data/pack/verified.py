"""A packed file read to its end, which opening it does not do."""

from pathlib import Path

import numpy as np

from fastpose.data.pack import packed_file
from fastpose.data.pack.packed import PackedClips
from fastpose.system.tensor_file import check_arrays

_ROWS_AT_ONCE = 2**16


def verify_pack(path: str | Path) -> bool:
    """Read a packed file to its end: whether its arrays are those that were written, and finite.

    Returns:
        Whether it has checksums; files from before have none.

    Raises:
        ValueError: as ``PackedClips.load``, an array differs from its checksum, or a keypoint or score is not finite.
        OSError: the file cannot be read.
    """
    packed = PackedClips.load(path)
    arrays, texts = packed_file.read(path)
    summed = check_arrays(texts, arrays, path)
    for field in ("keypoints", "scores"):
        rows = getattr(packed, field)
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            if not np.isfinite(rows[begin : begin + _ROWS_AT_ONCE]).all():
                clip = int(np.searchsorted(packed.offsets, begin, side="right")) - 1
                raise ValueError(
                    f"{path}: damaged packed file: {field} of clip {packed.names[clip]!r} or one behind it are not "
                    "finite"
                )
    return summed
