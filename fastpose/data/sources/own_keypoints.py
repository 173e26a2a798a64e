"""Keypoints in fastpose's own forms: {keypoints, scores, image_size, …} as JSON or `.npz`, and bare arrays."""

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastpose.data.pack.clip_check import check_name, count_numbers
from fastpose.data.sources.found_clip import FoundClip
from fastpose.data.sources.npz_file import read_arrays, read_npy
from fastpose.settings.short_text import short, short_names

# What other tools call the same; left out, every joint would count as certain.
_OTHER_NAMES = {
    "scores": ("keypoint_scores", "keypoint_score", "confidence", "confidences", "conf", "visibility"),
    "image_size": ("img_shape", "image_shape", "original_shape"),
}
FIELDS = ("keypoints", "scores", "image_size", "layout", "name", "label", "split")
_FREE_NUMBERS = 2**23  # that empty frames may become
_MOST_FIELDS, _MOST_LETTERS = 1000, 100  # of a clip; of a field's name
_CTR_GCN = ("x_train", "y_train", "x_test", "y_test")


def clips_of_json(content: object) -> list[FoundClip]:
    """Read one clip as an object or as bare nested lists of numbers, or a list of objects, a clip each.

    A frame without anybody may be [] or null among the frames of one person.

    Raises:
        ValueError: it is neither; the text says what it holds.
    """
    if content == []:
        raise ValueError("holds no clip")
    if isinstance(content, list) and isinstance(content[0], dict):
        clips: list[Any] = content
    elif isinstance(content, list):
        clips = [{"keypoints": content}]
    else:
        clips = [content]
    for i, clip in enumerate(clips):
        if not isinstance(clip, dict) or "keypoints" not in clip:
            held = f"keys {short_names(clip)}" if isinstance(clip, dict) else type(clip).__name__
            raise ValueError(
                f"clip {i}: expected an object with keypoints, image_size and perhaps scores, got {held}"
            )
        refuse_mistyped(clip, FIELDS)
    return [_clip(clip) for clip in clips]


def clips_of_npz(path: Path) -> list[FoundClip]:
    """Read a clip's `.npz`, or the training and test clips of CTR-GCN's (x_train, y_train, …).

    Members that are not used are not decompressed.

    Raises:
        ValueError: no whole archive of plain arrays, or none that is known; the text lists its arrays.
        OSError: the file cannot be read.
    """
    fields = read_npz(path, (*FIELDS, *_CTR_GCN))
    if "x_train" in fields or "x_test" in fields:
        return _ctr_gcn_clips(fields)
    return [_clip(fields)]


def clips_of_npy(path: Path) -> list[FoundClip]:
    """Read a bare array of keypoints.

    Raises:
        ValueError: no plain array of numbers.
        OSError: the file cannot be read.
    """
    return [FoundClip(keypoints=read_npy(path))]


def _clip(fields: dict[str, Any]) -> FoundClip:
    known = {key: fields[key] for key in FIELDS if fields.get(key) is not None}
    if "name" in known and not isinstance(known["name"], str | int):
        raise ValueError(f"name must be text, got {short(known['name'])}")
    if "name" in known:
        known["name"] = check_name(str(known["name"]), "clip")
    for key in ("keypoints", "scores"):
        if isinstance(known.get(key), list):
            known[key] = _fill_empty(known[key])
    return FoundClip(**{"keypoints": None, **known})


def _fill_empty(value: list[Any]) -> Any:
    """Return nested lists as an array, with NaN where a frame or person is [] or None; as they are if that fails."""
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError):
        pass
    full = _first_full(value)
    if count_numbers(full) > 4 * count_numbers(value) + _FREE_NUMBERS:
        raise ValueError(
            "keypoints or scores have far more empty frames and persons than full ones; leave them out"
        )
    try:
        return np.array(_filled(value, full), dtype=np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return value


def _first_full(value: Any) -> Any:
    """Return the first branch of nested lists that ends in a number; None if there is none."""
    if not isinstance(value, list):
        return value
    for item in value:
        if (full := _first_full(item)) is not None:
            return [full] * len(value) if isinstance(full, list) else value
    return None


def _filled(value: Any, like: Any) -> Any:
    if not isinstance(like, list):
        return value
    if value is None or value == []:
        return [_filled(None, item) for item in like] if isinstance(like[0], list) else [None] * len(like)
    return [_filled(item, like[0]) for item in value] if isinstance(value, list) else value


def _ctr_gcn_clips(arrays: dict[str, Any]) -> list[FoundClip]:
    clips = []
    for split in ("train", "test"):
        if f"x_{split}" not in arrays:
            continue
        x, y = arrays[f"x_{split}"], arrays.get(f"y_{split}")
        if (
            not isinstance(x, np.ndarray)
            or x.ndim != 3
            or x.dtype.kind != "f"
            or 0 in x.shape
            or x.shape[2] % 75
            or not isinstance(y, np.ndarray)
            or y.ndim not in (1, 2)
            or y.dtype.kind not in "fiub"
            or len(y) != len(x)
            or 0 in y.shape
        ):
            given = (
                f"{v.dtype} {list(v.shape)}" if isinstance(v, np.ndarray) else "no array" for v in (x, y)
            )
            raise ValueError(
                f"x_{split} must be [N, T, persons · 25 joints · 3] in floats beside y_{split} of N labels, got "
                f"{' and '.join(given)}"
            )
        labels = y.argmax(axis=1) if y.ndim == 2 else y
        joints = x.reshape(*x.shape[:2], -1, 25, 3).transpose(0, 2, 1, 3, 4)  # [N, M, T, 25, 3]
        clips += [
            FoundClip(
                keypoints=joints[i],
                name=f"{split}_{i:06d}",
                layout="kinect25",
                label=labels[i],
                split=split,
                metres=True,
                persons_first=True,
            )
            for i in range(len(x))
        ]
    return clips


def read_npz(path: Path, known: Sequence[str]) -> dict[str, Any]:
    """Read those arrays of a file that are ``known``; texts of one element become ``str``.

    Raises:
        ValueError: no whole `.npz` file of plain arrays, an array's name that looks mistyped, or none known.
    """
    fields, names = read_arrays(path, known)
    refuse_mistyped(names, known)
    if not fields:
        raise ValueError(f"no keypoints in it; its arrays are {short_names(names)}")
    return {
        key: _text(key, value) if value.size == 1 and value.dtype.kind in "US" else value
        for key, value in fields.items()
    }


def _text(key: str, value: np.ndarray) -> str:
    text = value.item()
    try:
        return text.decode() if isinstance(text, bytes) else str(text)
    except UnicodeDecodeError:
        raise ValueError(f"array {key!r} must be text in UTF-8") from None


def refuse_mistyped(fields: Collection[str], known: Sequence[str]) -> None:
    """Refuse a name that is nearly one of the ``known`` ones that are missing; other names are let through.

    Raises:
        ValueError: there is one; the text says what it might be.
    """
    if len(fields) > _MOST_FIELDS:
        raise ValueError(f"it holds {len(fields):,} arrays or fields, expected at most {_MOST_FIELDS:,}")
    for key in sorted(set(fields) - set(known)):
        key = key[:_MOST_LETTERS]
        for field, names in _OTHER_NAMES.items():
            if field in known and field not in fields and key.lower() in names:
                raise ValueError(f"array {key!r} is unknown: is it {field!r}?")
        if close := difflib.get_close_matches(key, sorted(set(known) - set(fields)), n=1, cutoff=0.75):
            raise ValueError(f"array {key!r} is unknown: is it {close[0]!r}?")
