"""Joint layouts: what the V keypoints of a person are, and how one layout becomes another."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastpose.data.pack.presence import MAX_COORDINATE


@dataclass(frozen=True, slots=True)
class Layout:
    """The joints of a person, in the order of the V axis; any V is allowed.

    Attributes:
        name: what the layout is called in files and messages.
        joints: V distinct names.
        pairs: (left, right) joints that a horizontal flip exchanges.
        limbs: (a, b) joints that a bone joins.

    Raises:
        ValueError: an index outside 0..V-1, a joint in two pairs, a limb from a joint to itself, repeated or
            empty names, or members of another type.
    """

    name: str
    joints: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...] = ()
    limbs: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"a layout's name must be a non-empty string, got {self.name!r}")
        for field in ("joints", "pairs", "limbs"):
            value = getattr(self, field)
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise ValueError(f"layout {self.name!r}: {field} must be a tuple, got {value!r}")
            object.__setattr__(self, field, tuple(value))
        if not all(isinstance(joint, str) and joint for joint in self.joints):
            raise ValueError(f"layout {self.name!r}: joints must be non-empty strings, got {self.joints!r}")
        if not self.joints or len(set(self.joints)) != len(self.joints):
            raise ValueError(f"layout {self.name!r}: joints must be one or more distinct names")
        object.__setattr__(self, "pairs", self._index_pairs("pairs"))
        object.__setattr__(self, "limbs", self._index_pairs("limbs"))
        paired = [joint for pair in self.pairs for joint in pair]
        if len(set(paired)) != len(paired):
            twice = next(joint for joint in paired if paired.count(joint) > 1)
            raise ValueError(f"layout {self.name!r}: joint {twice} ({self.joints[twice]}) is in two pairs")

    def _index_pairs(self, field: str) -> tuple[tuple[int, int], ...]:
        checked = []
        for pair in getattr(self, field):
            ends = tuple(pair) if isinstance(pair, list | tuple) else ()
            if len(ends) != 2 or any(isinstance(end, bool) or not isinstance(end, int) for end in ends):
                raise ValueError(
                    f"layout {self.name!r}: {field} must hold pairs of joint numbers, got {pair!r}"
                )
            if not all(0 <= end < len(self.joints) for end in ends) or ends[0] == ends[1]:
                raise ValueError(
                    f"layout {self.name!r}: {field} must join two of the joints 0..{len(self.joints) - 1}, "
                    f"got {ends}"
                )
            checked.append(ends)
        return tuple(checked)

    @property
    def num_joints(self) -> int:
        """V."""
        return len(self.joints)

    def flip_index(self) -> np.ndarray:
        """Return int64 [V]: joint v of a mirrored person is joint ``flip_index()[v]`` of the original."""
        index = np.arange(self.num_joints, dtype=np.int64)
        for left, right in self.pairs:
            index[left], index[right] = right, left
        return index

    def to_json(self) -> dict[str, Any]:
        """Return a dict of plain lists, ready for ``json.dumps``; ``from_json`` is its inverse."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Layout":
        """Build from {name, joints, pairs, limbs}; pairs and limbs may be missing (none).

        Raises:
            ValueError: an unknown or missing key, or whatever ``Layout`` refuses.
        """
        known = {"name", "joints", "pairs", "limbs"}
        if not isinstance(fields, Mapping) or set(fields) - known or not {"name", "joints"} <= set(fields):
            got = sorted(map(str, fields)) if isinstance(fields, Mapping) else type(fields).__name__
            raise ValueError(f"a layout is an object with name, joints, pairs and limbs, got {got}")
        lists = {key: fields.get(key, []) for key in ("joints", "pairs", "limbs")}
        for key, value in lists.items():
            if not isinstance(value, list | tuple):
                raise ValueError(f"a layout's {key} must be a list, got {type(value).__name__}")
        return cls(fields["name"], **lists)

    @classmethod
    def from_file(cls, path: str | Path) -> "Layout":
        """Read a JSON file {name, joints, pairs, limbs}.

        Raises:
            ValueError: not JSON, or not a layout; the text names the file.
            OSError: the file cannot be read.
        """
        try:
            return cls.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not a layout file: {error}") from error


def _sides(*names: str) -> tuple[str, ...]:
    return tuple(f"{side}_{name}" for name in names for side in ("left", "right"))


KINECT25 = Layout(
    name="kinect25",
    joints=(
        "spine_base", "spine_mid", "neck", "head",
        "left_shoulder", "left_elbow", "left_wrist", "left_hand",
        "right_shoulder", "right_elbow", "right_wrist", "right_hand",
        "left_hip", "left_knee", "left_ankle", "left_foot",
        "right_hip", "right_knee", "right_ankle", "right_foot",
        "spine_shoulder", "left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb",
    ),
    pairs=(
        (4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19), (21, 23), (22, 24),
    ),
    limbs=(
        (0, 1), (1, 20), (20, 2), (2, 3),
        (20, 4), (4, 5), (5, 6), (6, 7), (7, 21), (7, 22),
        (20, 8), (8, 9), (9, 10), (10, 11), (11, 23), (11, 24),
        (0, 12), (12, 13), (13, 14), (14, 15), (0, 16), (16, 17), (17, 18), (18, 19),
    ),
)  # fmt: skip

H36M17 = Layout(
    name="h36m17",
    joints=(
        "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
        "spine", "thorax", "neck_nose", "head_top",
        "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
    ),
    pairs=((4, 1), (5, 2), (6, 3), (11, 14), (12, 15), (13, 16)),
    limbs=(
        (0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10),
        (8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16),
    ),
)  # fmt: skip

# Limbs in the order of PYSKL's published limb models, whose channels they are.
COCO17 = Layout(
    name="coco17",
    joints=("nose", *_sides("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")),
    pairs=tuple((joint, joint + 1) for joint in range(1, 17, 2)),
    limbs=(
        (0, 5), (0, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (11, 13), (13, 15),
        (6, 12), (12, 14), (14, 16), (0, 1), (0, 2), (1, 3), (2, 4), (11, 12),
    ),
)  # fmt: skip

# The data set's odd joints are the anatomical right.
PENN13 = Layout(
    name="penn13",
    joints=(
        "head", "right_shoulder", "left_shoulder", "right_elbow", "left_elbow", "right_wrist", "left_wrist",
        "right_hip", "left_hip", "right_knee", "left_knee", "right_ankle", "left_ankle",
    ),
    pairs=tuple((joint + 1, joint) for joint in range(1, 13, 2)),
    limbs=(
        (0, 1), (0, 2), (1, 2), (1, 3), (3, 5), (2, 4), (4, 6),
        (1, 7), (2, 8), (7, 8), (7, 9), (9, 11), (8, 10), (10, 12),
    ),
)  # fmt: skip

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (KINECT25, H36M17, COCO17, PENN13)}

# Each target joint is the mean of these source joints; () is a joint the source does not have.
_CONVERSIONS: dict[tuple[str, str], tuple[tuple[int, ...], ...]] = {
    ("kinect25", "h36m17"): (
        (0,), (16,), (17,), (18,), (12,), (13,), (14,), (1,), (20,), (2,), (3,),
        (4,), (5,), (6,), (8,), (9,), (10,),
    ),
    ("kinect25", "coco17"): (
        (3,), (), (), (), (), (4,), (8,), (5,), (9,), (6,), (10,), (12,), (16,), (13,), (17,), (14,), (18,),
    ),
    ("coco17", "h36m17"): (
        (11, 12), (12,), (14,), (16,), (11,), (13,), (15,), (5, 6, 11, 12), (5, 6), (0,), (1, 2),
        (5,), (7,), (9,), (6,), (8,), (10,),
    ),
    ("penn13", "h36m17"): (
        (7, 8), (7,), (9,), (11,), (8,), (10,), (12,), (1, 2, 7, 8), (1, 2), (0,), (0,),
        (2,), (4,), (6,), (1,), (3,), (5,),
    ),
}  # fmt: skip


def get_layout(layout: "str | Path | Layout") -> Layout:
    """Return the layout of that name, or in that JSON file; a ``Layout`` is returned as it is.

    Raises:
        ValueError: no built-in layout of that name and no such file, or a file that is no layout.
    """
    if isinstance(layout, Layout):
        return layout
    if str(layout) in LAYOUTS:
        return LAYOUTS[str(layout)]
    if isinstance(layout, str | Path) and Path(layout).is_file():
        return Layout.from_file(layout)
    raise ValueError(
        f"no layout {str(layout)!r}, and no file of that name: give one of {', '.join(LAYOUTS)}, "
        "or a JSON file {name, joints, pairs, limbs}"
    )


def conversion(source: Layout, target: Layout) -> tuple[tuple[int, ...], ...]:
    """Return the joints of ``source`` whose mean each joint of ``target`` is; () for one that ``source`` lacks.

    Raises:
        ValueError: no conversion between the two is known.
    """
    if source == target:
        return tuple((joint,) for joint in range(source.num_joints))
    built_in = LAYOUTS.get(source.name) == source and LAYOUTS.get(target.name) == target
    sources = _CONVERSIONS.get((source.name, target.name)) if built_in else None
    if sources is None:
        known = ", ".join(f"{a} to {b}" for a, b in _CONVERSIONS)
        raise ValueError(f"no conversion from layout {source.name!r} to {target.name!r}; known: {known}")
    return sources


def convert(
    keypoints: np.ndarray, scores: np.ndarray, source: Layout, target: Layout
) -> tuple[np.ndarray, np.ndarray]:
    """Express joints of one layout in another.

    A joint made of several (mid-hip) is their mean, with the smallest of their scores: missing if one of
    them is, too far away to count (``fastpose.data.pack.presence``) if one of them is. A joint that ``source``
    lacks (eyes and ears of Kinect-25) is (0, 0) with score 0.

    Args:
        keypoints: float [..., V, 2], pixels.
        scores: float [..., V].

    Returns:
        keypoints [..., V', 2] and scores [..., V'] of the same dtypes; the inputs themselves where
        ``source`` is ``target``.

    Raises:
        ValueError: no conversion between the two is known, or the arrays are not of ``source``.
    """
    v = source.num_joints
    if keypoints.shape[-2:] != (v, 2) or scores.shape != keypoints.shape[:-1]:
        raise ValueError(
            f"layout {source.name!r} needs keypoints [..., {v}, 2] and scores [..., {v}], "
            f"got {keypoints.shape} and {scores.shape}"
        )
    if source == target:
        return keypoints, scores
    sources = conversion(source, target)
    out_keypoints = np.zeros((*keypoints.shape[:-2], target.num_joints, 2), keypoints.dtype)
    out_scores = np.zeros((*scores.shape[:-1], target.num_joints), scores.dtype)
    for joint, joints in enumerate(map(list, sources)):
        if joints:
            out_keypoints[..., joint, :] = _mean(keypoints[..., joints, :])
            out_scores[..., joint] = scores[..., joints].min(axis=-1)
    return out_keypoints, out_scores


def _mean(keypoints: np.ndarray) -> np.ndarray:
    """Return the mean [..., 2] of joints [..., n, 2]; the farthest coordinate where one is too far away to count."""
    if keypoints.shape[-2] == 1:
        return keypoints[..., 0, :]
    reach = np.abs(keypoints).max(axis=-2)
    with np.errstate(over="ignore"):
        return np.where(reach > MAX_COORDINATE, reach, keypoints.mean(axis=-2))
