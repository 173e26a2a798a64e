"""Clips to be classified: keypoints in the forms users hold them in, without labels."""

from collections.abc import Mapping, Sequence

import numpy as np

from fastpose.data.pack.clip_builder import CheckedClip, check_clip, real_array
from fastpose.data.pack.layouts import Layout
from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.presence import MAX_COORDINATE, present_joints

LARGEST_NORMALISED = 1.5  # joints a little outside the image exceed 1; no clip in pixels is this small
NORMALISED_SHARE = 0.9  # of the joints; a stray one does not make the others pixels
LARGEST_THIRD = 2.0  # as a score beside x and y: some detectors exceed 1, depths in metres exceed this
NO_CLASSES = ("unlabelled",)


def unlabelled_clip(fields: Mapping[str, object], layout: Layout, name: str) -> CheckedClip:
    """Check a clip of ``fields`` keypoints, image_size and perhaps scores; its label is 0.

    Keypoints are [M, T, V, 2], or [T, V, 2] for one person; with three numbers per joint and no ``scores``,
    the third is the score. Scores are [M, T, V] or [T, V].

    Raises:
        ValueError: a field is missing or does not fit; the text names the clip and the field.
    """
    try:
        keypoints, scores = _split_scores(fields.get("keypoints"), fields.get("scores"))
    except ValueError as error:
        raise ValueError(f"clip {name!r}: {error}") from error
    clip = {"keypoints": keypoints, "scores": scores, "image_size": fields.get("image_size")}
    return check_clip({**clip, "name": name, "label": 0}, layout, name)


def _split_scores(keypoints: object, scores: object) -> tuple[np.ndarray, np.ndarray | None]:
    if keypoints is None:
        raise ValueError("keypoints is missing")
    keypoints = real_array(keypoints, "keypoints")
    if scores is not None:
        scores = real_array(scores, "scores", kinds="fiub")
    if keypoints.ndim == 3:
        keypoints = keypoints[None]  # [1, T, V, 2]
        scores = scores[None] if scores is not None and scores.ndim == 2 else scores
    if keypoints.ndim == 4 and keypoints.shape[3] == 3 and scores is None:
        keypoints, scores = keypoints[..., :2], keypoints[..., 2]
        outside = scores[(scores < 0) | (scores > LARGEST_THIRD)]
        if outside.size:
            raise ValueError(
                f"the third number of a joint must be its score, got {outside[0]:.3g}; of 3D joints give the "
                f"pixels x, y alone, and scores above {LARGEST_THIRD:g} as scores"
            )
    return keypoints, scores


def pack_unlabelled(clips: Sequence[CheckedClip], layout: Layout, source: str) -> PackedClips:
    """Pack clips whose labels do not matter."""
    return PackedClips.from_checked(clips, layout, NO_CLASSES, source=source)


def has_joints(packed: PackedClips) -> np.ndarray:
    """Return which clips have a joint at all that a sampler would see, bool [n]."""
    return np.logical_or.reduceat(
        present_joints(packed.keypoints, packed.scores).any(axis=1), packed.offsets[:-1]
    )


def find_faults(packed: PackedClips) -> dict[int, str]:
    """Return why clips cannot be classified, by index: no joint at all, or coordinates that are no pixels."""
    reach = np.abs(packed.keypoints).max(axis=2)  # [rows, V]
    placed = present_joints(packed.keypoints, packed.scores) & (reach > 0)
    small = placed & (reach <= LARGEST_NORMALISED)
    num_placed, num_small = (
        np.add.reduceat(joints.sum(axis=1), packed.offsets[:-1]) for joints in (placed, small)
    )
    return {
        int(i): _fault(packed, int(i)) for i in np.flatnonzero(num_small >= NORMALISED_SHARE * num_placed)
    }


def _fault(packed: PackedClips, clip: int) -> str:
    rows = slice(*packed.offsets[clip : clip + 2])
    keypoints = packed.keypoints[rows]
    present = present_joints(keypoints, packed.scores[rows])
    if not present.any():
        if (packed.scores[rows] > 0).any():
            return f"every joint lies more than {MAX_COORDINATE:,.0f} pixels from the image"
        return "no joint is present in any frame"
    values = keypoints[present]
    if not values.any():
        return "every joint lies at (0, 0)"
    usual = values[(np.abs(values) <= LARGEST_NORMALISED).all(axis=1)]
    others = len(values) - len(usual)
    share = f"all but {others} of {len(values)}" if others else "all"
    lowest, highest = usual.min(), usual.max()
    mend = (
        "multiply x by the image's width and y by its height"
        if lowest > 1 - LARGEST_NORMALISED
        else "undo what made them so, for instance x = (x + 1) / 2 · width and y = (y + 1) / 2 · height"
    )
    return (
        f"the keypoints look normalised ({share} lie in {lowest:.3g} to {highest:.3g}), but pixels are needed: "
        f"{mend}"
    )
