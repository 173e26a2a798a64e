"""One clip as users hold it, checked and cleared of what is empty."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np

from fastpose.data.pack import coordinates
from fastpose.data.pack.layouts import Layout
from fastpose.data.pack.limits import MOST_CLASSES, MOST_LETTERS, MOST_NUMBERS
from fastpose.data.pack.persons import match_slots
from fastpose.data.pack.presence import MAX_COORDINATE, given_joints
from fastpose.settings.keypoints import KeypointOptions
from fastpose.settings.short_text import short, short_names

_KNOWN_FIELDS = {"name", "keypoints", "scores", "label", "image_size", "split"}
_NUMBERS = frozenset([int, float, bool, type(None)])
_MAX_SIDE = 2**31 - 1
DEEPEST = 8  # levels of nested lists
ENDLESS = 2**62


@dataclass(frozen=True, slots=True)
class CheckedClip:
    """A clip whose shapes, units and labels are known to be right, without empty persons and frames at its ends.

    Its arrays are the caller's own where nothing had to be changed.

    Attributes:
        first_frame: frames without anybody that were cut off before it.
        given_frames: T before that.
        min_score: a joint with a smaller score is missing.
        marked: so is one at (0, 0) or (−1, −1).
        notes: what was taken to be what, a sentence each.
    """

    name: str
    keypoints: np.ndarray  # [M, T, V, 2], any real dtype
    scores: np.ndarray | None  # [M, T, V]
    label: int
    image_size: tuple[int, int]  # (h, w)
    split: str | None
    first_frame: int = 0
    given_frames: int = 0
    min_score: float = 0.0
    marked: bool = True
    notes: tuple[str, ...] = ()


def check_clip(
    clip: object,
    layout: Layout,
    default_name: str,
    options: KeypointOptions | None = None,
    *,
    labelled: bool = True,
    persons_first: bool = False,
    marked: bool = True,
) -> CheckedClip:
    """Check one clip, a mapping or an object with the fields of ``PoseClip``.

    Keypoints are [M, T, V, 2], or [T, V, 2] of one person (scores [M, T, V] or [T, V]). A third number of each joint
    is its score, COCO's visibility flag, or z in metres where ``options`` name a camera. Persons without any joint
    and frames without anybody at both ends are left out.

    Args:
        options: how to take the keypoints.
        labelled: a label is needed; else it is 0.
        persons_first: M is known to be the number of persons, however large.
        marked: a joint at (0, 0) or (−1, −1) is missing, as estimators mark it.

    Raises:
        ValueError: a field is missing, of another type or out of range, coordinates are no pixels, or no joint is
            there; the text names the clip and field.
    """
    options = KeypointOptions() if options is None else options
    if isinstance(clip, Mapping):
        fields = dict(clip)
    elif hasattr(clip, "keypoints"):
        fields = {field: getattr(clip, field) for field in _KNOWN_FIELDS if hasattr(clip, field)}
    else:
        raise ValueError(f"{default_name} must be a PoseClip or a dict, got {type(clip).__name__}")
    name = check_name(default_name if fields.get("name") is None else fields["name"], default_name)
    try:
        if unknown := set(fields) - _KNOWN_FIELDS:
            raise ValueError(f"unknown fields {short_names(unknown)}; known are {short_names(_KNOWN_FIELDS)}")
        for field in ("keypoints", "label", "image_size")[: 3 if options.project is None else 2]:
            if fields.get(field) is None and (labelled or field != "label"):
                raise ValueError(f"{field} is missing")
        split = fields.get("split")
        if split is not None and (not isinstance(split, str) or not split):
            raise ValueError(f"split must be a non-empty string, got {short(split)}")
        if split is not None:
            check_name(split, "its split")
        label = check_label(fields["label"]) if labelled else 0
        size = None if options.project else check_image_size(fields["image_size"])
        keypoints, scores, size, notes = _pixels(fields, size, layout, options, persons_first, marked)
        present = _present(keypoints, scores, options.min_score, marked)
        if not persons_first:
            keypoints, scores, exchanged = match_slots(keypoints, scores, present)
            if exchanged:
                present = _present(keypoints, scores, options.min_score, marked)
                notes.append("persons whose slots changed from frame to frame were given one slot each")
        persons, first, end = _filled_part(present)
        clip = CheckedClip(
            name=name,
            keypoints=_part(keypoints, persons, first, end),
            scores=None if scores is None else _part(scores, persons, first, end),
            label=label,
            image_size=size,
            split=split,
            first_frame=first,
            given_frames=keypoints.shape[1],
            min_score=options.min_score,
            marked=marked,
            notes=tuple(notes),
        )
    except ValueError as error:
        raise ValueError(f"clip {name!r}: {error}") from error
    return clip


def check_name(name: object, default_name: str) -> str:
    """Return a clip's name, a non-empty string that files can hold.

    Raises:
        ValueError: anything else.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"{default_name}: name must be a non-empty string, got {short(name)}")
    if len(name) > MOST_LETTERS:
        raise ValueError(f"{default_name}: name has {len(name):,} letters, expected at most {MOST_LETTERS:,}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{default_name}: name {name!a} holds half a character (a lone surrogate)") from None
    return name


def check_image_size(size: Any) -> tuple[int, int]:
    """Return (h, w) as two positive ints; whole numbers as floats are taken.

    Raises:
        ValueError: anything else.
    """
    try:
        height, width = (whole_number(side) for side in size)
    except (TypeError, ValueError):
        raise ValueError(f"image_size must be two integers (h, w), got {short(size)}") from None
    if not (0 < height <= _MAX_SIDE and 0 < width <= _MAX_SIDE):
        raise ValueError(f"image_size (h, w) must be positive, got {(height, width)}")
    return height, width


def whole_number(value: Any) -> int:
    """Return a whole number, be it an int, a float or an array of one element.

    Raises:
        ValueError: anything else; booleans too.
    """
    number: Any = value.item() if isinstance(value, np.ndarray | np.generic) and value.size == 1 else value
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, SupportsIndex):
        raise ValueError(f"{short(value)} is no whole number")
    try:
        return operator.index(number)
    except TypeError:  # arrays of several numbers have an index, and refuse it
        raise ValueError(f"{short(value)} is no whole number") from None


def real_array(value: object, field: str, kinds: str = "fiu") -> np.ndarray:
    """Return ``value`` as an array of real numbers, of one of the dtype ``kinds``; None in a list becomes NaN.

    Raises:
        ValueError: it is ragged, or holds anything else.
    """
    try:
        if count_numbers(value, field) > MOST_NUMBERS:
            raise TooLargeError(f"{field} holds more than {MOST_NUMBERS:,} numbers")
        array = np.asarray(value)
        if array.dtype == object:
            array = np.array(array.tolist(), dtype=np.float64)
    except OverflowError:
        raise ValueError(f"{field} holds a number too large for any joint") from None
    except (TooLargeError, TextAmongNumbersError):
        raise
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{field} is ragged or holds no numbers: all persons need the same frames"
        ) from error
    if array.dtype.kind not in kinds:
        raise ValueError(f"{field} must be an array of real numbers, got dtype {array.dtype}")
    return array


class TextAmongNumbersError(ValueError):
    """Lists hold text: as an array, each of their items would take as much as the longest."""


class TooLargeError(ValueError):
    """Keypoints hold more numbers than those of any clip, or than their file has room for."""


def count_numbers(value: object, field: str = "it") -> int:
    """Count the numbers of an array, or of nested lists, which may hold one list or array many times.

    Of anything else there is one. Nothing is expanded: lists that are nested too deep for keypoints count as endless.

    Raises:
        TextAmongNumbersError: there is text among them; the text names the ``field``.
    """
    try:
        return _count(value, {}, 0)
    except TextAmongNumbersError:
        raise TextAmongNumbersError(
            f"{field} must be an array of real numbers, got text among them"
        ) from None


def _count(value: Any, counted: dict[int, int], depth: int) -> int:
    """Return ``count_numbers``; ``counted`` are the lists that were met, by identity."""
    if depth and isinstance(value, str | bytes | bytearray):
        raise TextAmongNumbersError
    if isinstance(value, np.ndarray):
        if value.dtype != object:
            return value.size
        value = value.tolist()
        return (
            _count_list(value, counted, depth) if isinstance(value, list) else _count(value, counted, depth)
        )
    if not isinstance(value, list | tuple):
        return 1
    if id(value) not in counted:
        numbers = _NUMBERS.issuperset(map(type, value))
        counted[id(value)] = len(value) if numbers else _count_list(value, counted, depth)
    return counted[id(value)]


def _count_list(value: Sequence[Any], counted: dict[int, int], depth: int) -> int:
    if depth > DEEPEST:
        return ENDLESS
    return sum(_count(item, counted, depth + 1) for item in value)


def check_label(value: Any) -> int:
    """Return a class number from 0.

    Raises:
        ValueError: anything else, or one that would make absurdly many classes.
    """
    try:
        label = -1 if isinstance(value, bool | np.bool_) else whole_number(value)
    except ValueError:
        label = -1
    if not 0 <= label < 2**31:
        raise ValueError(f"label must be an integer from 0, got {short(value)}")
    if label >= MOST_CLASSES:
        raise ValueError(
            f"label {label} would make {label + 1:,} classes, more than {MOST_CLASSES:,}: number the classes from 0"
        )
    return label


def _pixels(
    fields: Mapping[str, Any],
    size: tuple[int, int] | None,
    layout: Layout,
    options: KeypointOptions,
    persons_first: bool,
    marked: bool,
) -> tuple[np.ndarray, np.ndarray | None, tuple[int, int], list[str]]:
    """Return keypoints [M, T, V, 2] in pixels, scores [M, T, V] or None, (h, w), and notes."""
    keypoints, scores = real_array(fields["keypoints"], "keypoints"), fields.get("scores")
    scores = None if scores is None else real_array(scores, "scores", kinds="fiub")
    if keypoints.ndim == 3 and keypoints.shape[-1] in (2, 3):
        keypoints = keypoints[None]  # [1, T, V, 2]
        scores = scores[None] if scores is not None and scores.shape == keypoints.shape[1:3] else scores
    shape = keypoints.shape
    numbers = 2 if options.project is None else 3
    if len(shape) != 4 or shape[2] != layout.num_joints or shape[3] not in (2, 3) or shape[3] < numbers:
        raise ValueError(
            f"keypoints must be [M, T, {layout.num_joints}, {numbers}] for layout {layout.name!r}, got {list(shape)}"
        )
    if shape[0] == 0 or shape[1] == 0:
        raise ValueError(f"keypoints {list(shape)} hold {'no person' if shape[0] == 0 else 'no frame'}")
    if not persons_first:
        coordinates.refuse_frames_first(shape)
    if scores is not None:
        scores = scores[..., 0] if scores.shape == (*shape[:3], 1) else scores
        if scores.shape != shape[:3]:
            raise ValueError(f"scores must be {list(shape[:3])} as keypoints are, got {list(scores.shape)}")
    notes = []
    if options.project is not None:
        keypoints, seen, size = coordinates.project(keypoints, options)
        scores = seen if scores is None else np.where(seen > 0, scores, 0)
        notes.append(f"3D joints seen through the camera {options.project}")
    elif shape[3] == 3:
        if scores is not None:
            raise ValueError(
                f"keypoints {list(shape)} have three numbers per joint beside scores: of joints in 3D in metres say "
                "the camera (--project kinect_v1), of others give the pixels x, y alone"
            )
        keypoints, scores, note = coordinates.split_third(keypoints)
        notes += [note] if note else []
    elif scores is not None and scores.dtype != bool and coordinates.are_flags(scores):
        scores = np.minimum(scores, 1)
        notes.append(coordinates.HIDDEN_FLAGS)
    assert size is not None
    present = given_joints(keypoints, scores, options.min_score, marked=marked)
    if scores is not None and present.any() and np.median(scores[present]) > coordinates.LARGEST_USUAL_SCORE:
        notes.append("scores are far above 1, as percents are; they are taken as they are")
    if options.normalised:
        keypoints = coordinates.to_pixels(keypoints, present, size)
        notes.append("shares of the image were made pixels")
    elif fault := coordinates.find_fault(keypoints[present], size):
        raise ValueError(fault)
    return keypoints, scores, size, notes


def _present(keypoints: np.ndarray, scores: np.ndarray | None, min_score: float, marked: bool) -> np.ndarray:
    """Return which joints count, bool [M, T, V].

    Raises:
        ValueError: none does.
    """
    given = given_joints(keypoints, scores, min_score, marked=marked)
    with np.errstate(over="ignore"):
        present = given & (np.abs(keypoints) <= MAX_COORDINATE).all(axis=-1)
    if not present.any():
        raise ValueError(
            f"every joint lies more than {MAX_COORDINATE:,.0f} pixels from the image"
            if given.any()
            else "no joint is present in any frame"
        )
    return present


def _filled_part(present: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Return the persons with a joint, bool [M], and the frames from the first to behind the last with anybody."""
    seen = np.any(present, axis=2)  # [M, T]
    frames = np.flatnonzero(np.any(seen, axis=0))
    return np.any(seen, axis=1), int(frames[0]), int(frames[-1]) + 1


def _part(array: np.ndarray, persons: np.ndarray, first: int, end: int) -> np.ndarray:
    array = array[:, first:end]
    return array if persons.all() else array[persons]
