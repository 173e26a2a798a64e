"""Clips to be classified: keypoints without labels."""

from collections.abc import Mapping, Sequence

from fastpose.data.pack.clip_check import CheckedClip, check_clip
from fastpose.data.pack.coordinates import find_fault
from fastpose.data.pack.layouts import Layout
from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.presence import MAX_COORDINATE, given_joints, present_joints
from fastpose.settings.keypoints import KeypointOptions

NO_CLASSES = ("unlabelled",)


def unlabelled_clip(
    fields: Mapping[str, object], layout: Layout, name: str, options: KeypointOptions | None = None
) -> CheckedClip:
    """Return ``check_clip`` of ``fields`` keypoints, image_size and perhaps scores; its label is 0.

    Raises:
        ValueError: a field is missing or does not fit; the text names the clip and the field.
    """
    clip = {key: fields.get(key) for key in ("keypoints", "scores", "image_size")}
    return check_clip({**clip, "name": name}, layout, name, options, labelled=False)


def pack_unlabelled(clips: Sequence[CheckedClip], layout: Layout, source: str) -> PackedClips:
    """Pack clips whose labels do not matter."""
    return PackedClips.from_checked(clips, layout, NO_CLASSES, source=source)


def find_faults(packed: PackedClips) -> dict[int, str]:
    """Return why clips of a pack cannot be classified, by index: no joint at all, or coordinates that are no pixels."""
    faults = {}
    for i, (start, stop) in enumerate(zip(packed.offsets[:-1], packed.offsets[1:], strict=True)):
        keypoints, scores = packed.keypoints[start:stop], packed.scores[start:stop]
        present = present_joints(keypoints, scores)
        placed = present & given_joints(keypoints)
        if not present.any():
            stray = bool((scores > 0).any())
            faults[i] = (
                f"every joint lies more than {MAX_COORDINATE:,.0f} pixels from the image"
                if stray
                else "no joint is present in any frame"
            )
        elif not placed.any():
            faults[i] = "every joint lies at (0, 0)"
        elif fault := find_fault(
            keypoints[placed], (int(packed.image_sizes[i, 0]), int(packed.image_sizes[i, 1]))
        ):
            faults[i] = fault
    return faults
