"""From clips as users hold them to the flat arrays of a pack: checks, repairs and assembly."""

import hashlib
import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fastpose.data.core import core
from fastpose.data.pack.layouts import Layout

_KNOWN_FIELDS = {"name", "keypoints", "scores", "label", "image_size", "split"}
_MAX_SIDE = 2**31 - 1


@dataclass(frozen=True, slots=True)
class CheckedClip:
    """A clip whose shapes and labels are known to be right; its arrays are the caller's own, not copies."""

    name: str
    keypoints: np.ndarray  # [M, T, V, 2], any real dtype
    scores: np.ndarray | None  # [M, T, V]
    label: int
    image_size: tuple[int, int]  # (h, w)
    split: str | None


def name_hash(name: str) -> int:
    """Return the 64-bit hash of a clip's name: what its random numbers are counted by, whatever pack it is in."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def check_clip(clip: object, layout: Layout, default_name: str) -> CheckedClip:
    """Check one clip, a mapping or an object with the fields of ``PoseClip``.

    Raises:
        ValueError: a field is missing, of another type or out of range; the text names the clip and field.
    """
    if isinstance(clip, Mapping):
        fields = dict(clip)
    elif hasattr(clip, "keypoints"):
        fields = {field: getattr(clip, field) for field in _KNOWN_FIELDS if hasattr(clip, field)}
    else:
        raise ValueError(f"{default_name} must be a PoseClip or a dict, got {type(clip).__name__}")
    name = default_name if fields.get("name") is None else fields["name"]
    if not isinstance(name, str) or not name:
        raise ValueError(f"{default_name}: name must be a non-empty string, got {name!r}")
    try:
        if unknown := set(fields) - _KNOWN_FIELDS:
            raise ValueError(f"unknown fields {sorted(map(str, unknown))}; known are {sorted(_KNOWN_FIELDS)}")
        for field in ("keypoints", "label", "image_size"):
            if fields.get(field) is None:
                raise ValueError(f"{field} is missing")
        keypoints = _check_keypoints(fields["keypoints"], layout)
        split = fields.get("split")
        if split is not None and (not isinstance(split, str) or not split):
            raise ValueError(f"split must be a non-empty string, got {split!r}")
        return CheckedClip(
            name=name,
            keypoints=keypoints,
            scores=_check_scores(fields.get("scores"), keypoints.shape[:3]),
            label=_check_label(fields["label"]),
            image_size=check_image_size(fields["image_size"]),
            split=split,
        )
    except ValueError as error:
        raise ValueError(f"clip {name!r}: {error}") from error


def check_image_size(size: Any) -> tuple[int, int]:
    """Return (h, w) as two positive ints.

    Raises:
        ValueError: anything else.
    """
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        raise ValueError(f"image_size must be two integers (h, w), got {size!r}") from None
    if not (0 < height <= _MAX_SIDE and 0 < width <= _MAX_SIDE):
        raise ValueError(f"image_size (h, w) must be positive, got {(height, width)}")
    return height, width


def real_array(value: object, field: str, kinds: str = "fiu") -> np.ndarray:
    """Return ``value`` as an array of real numbers, of one of the dtype ``kinds``; None in a list becomes NaN.

    Raises:
        ValueError: it is ragged, or holds anything else.
    """
    try:
        array = np.asarray(value)
        if array.dtype == object:
            array = np.array(array.tolist(), dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{field} is ragged or holds no numbers: all persons need the same frames") from None
    if array.dtype.kind not in kinds:
        raise ValueError(f"{field} must be an array of real numbers, got dtype {array.dtype}")
    return array


def _check_keypoints(value: object, layout: Layout) -> np.ndarray:
    keypoints = real_array(value, "keypoints")
    shape = keypoints.shape
    if len(shape) == 4 and shape[3] == 3:
        raise ValueError(
            f"keypoints {shape} have three numbers per joint; fastpose needs 2D pixels [M, T, V, 2] "
            "(scores go in a field of their own)"
        )
    if len(shape) != 4 or shape[2:] != (layout.num_joints, 2):
        raise ValueError(
            f"keypoints must be [M, T, {layout.num_joints}, 2] for layout {layout.name!r}, got {list(shape)}"
        )
    if shape[0] == 0 or shape[1] == 0:
        raise ValueError(f"keypoints {list(shape)} hold {'no person' if shape[0] == 0 else 'no frame'}")
    return keypoints


def _check_scores(value: object, shape: tuple[int, ...]) -> np.ndarray | None:
    if value is None:
        return None
    scores = real_array(value, "scores", kinds="fiub")
    if scores.shape == (*shape, 1):
        scores = scores[..., 0]
    if scores.shape != shape:
        raise ValueError(f"scores must be {list(shape)} as keypoints are, got {list(scores.shape)}")
    return scores


def _check_label(value: Any) -> int:
    try:
        label = operator.index(value.item() if isinstance(value, np.ndarray) and value.size == 1 else value)
    except TypeError:
        label = -1
    if isinstance(value, bool | np.bool_) or not 0 <= label < 2**31:
        raise ValueError(f"label must be an integer from 0, got {value!r}")
    return label


def class_name_tuple(class_names: Sequence[str] | int | None, labels: np.ndarray | None) -> tuple[str, ...]:
    """Return class names as given, or numbered: as many as the int given, else the largest label + 1.

    Raises:
        ValueError: names that are no distinct strings, or a count below 1.
    """
    if class_names is None:
        assert labels is not None
        class_names = int(labels.max()) + 1
    if isinstance(class_names, int) and not isinstance(class_names, bool):
        if class_names < 1:
            raise ValueError(f"the number of classes must be at least 1, got {class_names}")
        return tuple(f"class_{k}" for k in range(class_names))
    if isinstance(class_names, str | bool) or not all(isinstance(name, str) and name for name in class_names):
        raise ValueError(f"class_names must be non-empty strings or their number, got {class_names!r}")
    if not class_names or len(set(class_names)) != len(class_names):
        raise ValueError("class_names must be one or more distinct names")
    return tuple(class_names)


def clean_into(
    keypoints: np.ndarray, scores: np.ndarray | None, out_keypoints: np.ndarray, out_scores: np.ndarray
) -> None:
    """Write float32 keypoints [rows, V, 2] and scores [rows, V] without NaN: a missing joint has score 0.

    Missing: score ≤ 0, a non-finite coordinate or score (also by overflow of float32), or x = y = 0 where
    there are no scores. Non-finite coordinates become (0, 0); finite ones of missing joints stay.
    """
    with np.errstate(over="ignore"):
        out_keypoints[...] = keypoints
        out_scores[...] = 1 if scores is None else scores
    x, y = out_keypoints[..., 0], out_keypoints[..., 1]
    finite = np.isfinite(x) & np.isfinite(y)
    if not finite.all():
        out_keypoints[~finite] = 0
    present = finite & (out_scores > 0) & (out_scores < np.inf)
    if scores is None:
        present &= (x != 0) | (y != 0)
    if not present.all():
        out_scores[~present] = 0


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
            raise ValueError(f"a split's name must be a non-empty string, got {split!r}")
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
        flat = (stop - start, layout.num_joints)
        clean_into(
            clip.keypoints.reshape(*flat, 2),
            None if clip.scores is None else clip.scores.reshape(flat),
            keypoints[start:stop],
            scores[start:stop],
        )
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
