"""Long clips cut into windows of equal length that overlap."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from fastpose.data.pack import clip_builder
from fastpose.data.pack.packed import PackedClips


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """The clips of a pack as windows; a clip that is not cut is one window, all of it.

    Attributes:
        packed: a clip per window, clip by clip, in order of time.
        offsets: int64 [n + 1]; clip i is windows ``offsets[i]:offsets[i + 1]``.
        first_frames: int64 [windows], counted in the clip from 0.
    """

    packed: PackedClips
    offsets: np.ndarray
    first_frames: np.ndarray


def window_starts(num_frames: int, window: int, stride: int) -> list[int]:
    """Return first frames of windows over ``num_frames``: every ``stride`` frames, the last ending with the clip."""
    if num_frames <= window:
        return [0]
    return [*range(0, num_frames - window, stride), num_frames - window]


def cut_windows(packed: PackedClips, window: int, stride: int, longer_than: int) -> Windows:
    """Cut the clips of more than ``longer_than`` frames into windows of ``window`` frames.

    Args:
        window: frames, at least 1 and at most ``longer_than``.
        stride: frames from one window to the next, 1 to ``window``, so that no frame is left out.

    Returns:
        The windows; the pack itself where no clip is that long. Frames ``a`` to ``b - 1`` of clip "x" are
        called "x[a:b]".
    """
    assert 1 <= stride <= window <= longer_than
    starts = [
        window_starts(frames, window, stride) if frames > longer_than else [0]
        for frames in packed.num_frames.tolist()
    ]
    offsets = np.cumsum([0, *map(len, starts)], dtype=np.int64)
    first_frames = np.concatenate([np.array(of_clip, np.int64) for of_clip in starts])
    if len(first_frames) == packed.num_clips:
        return Windows(packed, offsets, first_frames)
    clip_of = np.repeat(np.arange(packed.num_clips), np.diff(offsets))  # [windows]
    num_persons = packed.num_persons[clip_of]
    num_frames = np.where(
        packed.num_frames[clip_of] > longer_than, np.int32(window), packed.num_frames[clip_of]
    )
    rows = np.concatenate(
        [
            packed.offsets[clip] + person * packed.num_frames[clip] + first + np.arange(frames)
            for clip, first, frames in zip(clip_of, first_frames, num_frames, strict=True)
            for person in range(packed.num_persons[clip])
        ]
    )
    names = [
        f"{packed.names[clip]}[{first}:{first + frames}]" if stop - start > 1 else packed.names[clip]
        for clip, (start, stop) in enumerate(pairwise(offsets))
        for first, frames in zip(first_frames[start:stop], num_frames[start:stop], strict=True)
    ]
    return Windows(regrouped(packed, rows, clip_of, num_persons, num_frames, names), offsets, first_frames)


def regrouped(
    packed: PackedClips,
    rows: np.ndarray,
    clip_of: np.ndarray,
    num_persons: np.ndarray,
    num_frames: np.ndarray,
    names: list[str],
) -> PackedClips:
    """Return n clips made of rows of the pack's clips, D computed anew, in no split.

    Args:
        rows: int64, rows of the pack, new clip by new clip.
        clip_of: int64 [n], the clip whose label and image size each takes.
        num_persons, num_frames: int32 [n].
        names: n distinct names.
    """
    keypoints, scores = packed.keypoints[rows], packed.scores[rows]
    offsets = clip_builder.row_offsets(num_persons, num_frames)
    return replace(
        packed,
        keypoints=keypoints,
        scores=scores,
        offsets=offsets,
        num_persons=num_persons,
        num_frames=num_frames,
        labels=packed.labels[clip_of],
        image_sizes=packed.image_sizes[clip_of],
        name_hashes=np.array([clip_builder.name_hash(name) for name in names], np.uint64),
        total_difference=clip_builder.differences(keypoints, scores, offsets, num_frames),
        names=names,
        splits={},
        path=None,
    )
