"""What a pack holds, in a few lines for people, and what in it is suspicious."""

import numpy as np

from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.presence import count_stray_joints, present_joints, tell_stray_joints
from fastpose.data.pack.split_checks import odd_splits
from fastpose.data.pack.splits import TEST_NAMES, TRAIN_NAMES

_MANY_CLIPS = 0.1  # a few may show people who leave the picture
_MUCH_OUTSIDE = 0.1  # of the joints present; detectors put fewer beyond the edge


def describe(packed: PackedClips) -> list[str]:
    """Return lines: counts, joints missing and outside, lengths, splits, classes without training clips."""
    lengths = packed.num_frames
    shortest, longest = int(lengths.argmin()), int(lengths.argmax())
    clips, persons = packed.num_clips, int(packed.num_persons.sum())
    lines = [
        f"packed {clips} clip{'s' * (clips > 1)}, {int(lengths.sum())} frames, {persons} persons, "
        f"{packed.num_classes} class{'es' * (packed.num_classes > 1)}, layout {packed.layout.name}",
        f"frames a clip: {lengths[shortest]} ({packed.names[shortest]}) to {lengths[longest]} "
        f"({packed.names[longest]})",
    ]
    present, outside, _ = _count_outside(packed)
    joints = packed.scores.size
    lines.append(
        f"joints: {100 * (1 - present.sum() / joints):.1f} % missing, "
        f"{100 * outside.sum() / max(1, present.sum()):.1f} % of the others outside the image"
    )
    if warning := tell_exchanged_sizes(packed):
        lines.append(warning)
    if count := count_stray_joints(packed.keypoints, packed.scores):
        lines.append(tell_stray_joints(count))
    lines += [f"split {name}: {len(members)} clips" for name, members in packed.splits.items()]
    trained = next((packed.splits[name] for name in TRAIN_NAMES if name in packed.splits), None)
    tested = next((packed.splits[name] for name in TEST_NAMES if name in packed.splits), None)
    if trained is not None and tested is not None and len(trained) and len(tested):
        lines += [f"warning: {sentence}" for sentence in odd_splits(packed, trained, tested)]
    return lines


def tell_exchanged_sizes(packed: PackedClips) -> str | None:
    """Return a sentence on clips whose height and width are probably exchanged, None if there are none."""
    present, outside, outside_exchanged = _count_outside(packed)
    suspicious = (outside > _MUCH_OUTSIDE * present) & (outside_exchanged < outside / 2)
    if suspicious.sum() < _MANY_CLIPS * packed.num_clips or not suspicious.any():
        return None
    first = int(suspicious.argmax())
    height, width = packed.image_sizes[first].tolist()
    share = 100 * outside[suspicious].sum() / present[suspicious].sum()
    better = 100 * outside_exchanged[suspicious].sum() / present[suspicious].sum()
    count = int(suspicious.sum())
    return (
        f"warning: {share:.0f} % of the joints of {count} clip{'s' * (count > 1)} lie outside the image (h, w) = "
        f"({height}, {width}) ({packed.names[first]}); with ({width}, {height}) {better:.0f} % would: are height and "
        "width exchanged?"
    )


def _count_outside(packed: PackedClips) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return int64 [n] each: joints present, those outside the image, those outside were height and width exchanged."""
    rows = np.diff(packed.offsets)
    present = present_joints(packed.keypoints, packed.scores)
    x, y = packed.keypoints[..., 0], packed.keypoints[..., 1]
    height, width = (np.repeat(packed.image_sizes[:, i], rows)[:, None] for i in (0, 1))
    counts = [present.sum(axis=1)]
    for h, w in ((height, width), (width, height)):
        counts.append((present & ((x < 0) | (x > w) | (y < 0) | (y > h))).sum(axis=1))
    return tuple(np.add.reduceat(count, packed.offsets[:-1]) for count in counts)  # type: ignore[return-value]
