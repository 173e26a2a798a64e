"""Joints of one layout expressed in another, by their names.

A joint of the target is the source's joint of that name; or of another name that means the same; or the mean of
joints that enclose it. Which of these it is follows from the two layouts alone, never from which joints are seen in
a frame: a joint that changed its meaning from frame to frame would jump.
"""

from collections.abc import Mapping

import numpy as np

from fastpose.data.pack.built_in_layouts import KINECT20, KINECT25, SIDES
from fastpose.data.pack.layout import Layout
from fastpose.data.pack.presence import MAX_COORDINATE

MOST_NAMED = 6

# Names of one joint, or of joints within a few centimetres; {} stands for either side.
_SAME_JOINT = (
    ("pelvis", "spine_base", "hip_center", "mid_hip", "hip"),
    ("spine", "spine_mid"),
    ("thorax", "spine_shoulder", "shoulder_center"),
    ("{}_wrist", "{}_hand_root"),
    ("{}_thumb", "{}_thumb3"),
    ("{}_index", "{}_forefinger1"),
    ("{}_pinky", "{}_pinky_finger1"),
    ("{}_hand_tip", "{}_middle_finger4"),
    ("{}_big_toe", "{}_foot_index", "{}_foot"),
    ("{}_mouth", "{}_lip1"),
    ("{}_eye_inner", "{}_eyelid4"),
    ("{}_eye_outer", "{}_eyelid1"),
)

# What a joint is made of where the source has none of its names: the first of these that the source has all of.
_SHOULDERS = ("left_shoulder", "right_shoulder")
_HIPS = ("left_hip", "right_hip")
_MADE_OF = {
    "pelvis": (_HIPS,),
    "spine": ((*_SHOULDERS, *_HIPS),),
    "thorax": (_SHOULDERS, ("neck",)),
    "neck": (_SHOULDERS,),
    "neck_nose": (("nose",), ("neck",), ("thorax", "head"), ("head",)),
    "head_top": (("head",), ("left_eye", "right_eye")),
    "head": (("nose",), ("neck_nose", "head_top")),
    "nose": (("neck_nose",), ("head",)),
    "{}_hand": (("{}_wrist", "{}_middle_finger1"), ("{}_wrist", "{}_index", "{}_pinky")),
}


def _of_side(name: str, side: str) -> str:
    return name.replace("{}", side)


_NAMES: dict[str, tuple[str, ...]] = {
    _of_side(name, side): tuple(_of_side(other, side) for other in names)
    for names in _SAME_JOINT
    for name in names
    for side in SIDES
}
_PARTS: dict[str, tuple[tuple[str, ...], ...]] = {
    _of_side(name, side): tuple(tuple(_of_side(part, side) for part in parts) for parts in choices)
    for name, choices in _MADE_OF.items()
    for side in SIDES
}


def exchanges_sides(source: Layout, target: Layout) -> bool:
    """Say whether left and right change places between two layouts: one of them is Kinect's, the other is not.

    Kinect's picture is mirrored, but its joints are named by the person's own sides. Whoever looks at the picture, a
    pose estimator or an annotator, names them the other way round.
    """
    kinects = (KINECT25.joints, KINECT20.joints)
    return (source.joints in kinects) != (target.joints in kinects)


def conversion(
    source: Layout, target: Layout, *, exchange_sides: bool = False
) -> tuple[tuple[int, ...], ...]:
    """Return the joints of ``source`` whose mean each joint of ``target`` is; () for one that ``source`` lacks.

    Args:
        exchange_sides: joints named left_… are made of those of the right, and the other way round.

    Raises:
        ValueError: fewer than half of the joints of the smaller layout can be made, by their names.
    """
    joints = {name: joint for joint, name in enumerate(source.joints)}
    sources = tuple(_sources(_other_side(name) if exchange_sides else name, joints) for name in target.joints)
    made = sum(map(bool, sources))
    if 2 * made < min(source.num_joints, target.num_joints):
        raise ValueError(
            f"no conversion from layout {source.name!r} to {target.name!r}: by their names, {made or 'none'} of the "
            f"{target.num_joints} joints can be made; joints of the same name as in the built-in layouts can"
        )
    return sources


def _sources(name: str, joints: Mapping[str, int]) -> tuple[int, ...]:
    """Return the joints that ``name`` is the mean of, in increasing order."""
    first = _NAMES.get(name, (name,))[0]
    for parts in ((name,), *_PARTS.get(first, ())):
        found = [_find(part, joints) for part in parts]
        if None not in found:
            return tuple(sorted(joint for joint in found if joint is not None))
    return ()


def _find(name: str, joints: Mapping[str, int]) -> int | None:
    return next((joints[other] for other in (name, *_NAMES.get(name, ())) if other in joints), None)


def _other_side(name: str) -> str:
    for side, other in (SIDES, SIDES[::-1]):
        if name.startswith(f"{side}_"):
            return name.replace(side, other, 1)
    return name


def convert(
    keypoints: np.ndarray,
    scores: np.ndarray,
    source: Layout,
    target: Layout,
    *,
    exchange_sides: bool | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Express joints of one layout in another.

    A joint made of several (mid-hip) is their mean, with the smallest of their scores: missing if one of
    them is, too far away to count (``fastpose.data.pack.presence``) if one of them is. A joint that ``source``
    lacks (eyes and ears of Kinect-25) is (0, 0) with score 0.

    Args:
        keypoints: float [..., V, 2], pixels.
        scores: float [..., V].
        exchange_sides: give left joints the place of the right ones and the other way round; by default where
            ``exchanges_sides`` says so.

    Returns:
        keypoints [..., V', 2] and scores [..., V'] of the same dtypes; the inputs themselves where
        ``source`` is ``target`` and no sides are exchanged.

    Raises:
        ValueError: too few joints can be made (``conversion``), or the arrays are not of ``source``.
    """
    v = source.num_joints
    if keypoints.shape[-2:] != (v, 2) or scores.shape != keypoints.shape[:-1]:
        raise ValueError(
            f"layout {source.name!r} needs keypoints [..., {v}, 2] and scores [..., {v}], "
            f"got {keypoints.shape} and {scores.shape}"
        )
    if exchange_sides is None:
        exchange_sides = exchanges_sides(source, target)
    if source == target and not exchange_sides:
        return keypoints, scores
    sources = conversion(source, target, exchange_sides=exchange_sides)
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


def tell_conversion(source: Layout, target: Layout, exchange_sides: bool | None = None) -> list[str]:
    """Return sentences for people on what ``convert`` does: which joints stay missing, and what becomes of sides."""
    if source.joints == target.joints:
        return []
    sources = conversion(source, target)
    absent = [name for name, joints in zip(target.joints, sources, strict=True) if not joints]
    missing = f"; missing: {', '.join(absent)}" if absent else ""
    if len(absent) > MOST_NAMED:
        missing = f"; missing: {len(absent)} of {target.num_joints} joints"
    told = [f"joints of {source.name} made into those of {target.name}{missing}"]
    rule = exchanges_sides(source, target)
    if rule if exchange_sides is None else exchange_sides:
        told.append(
            "left and right exchanged: Kinect names the sides of the person, estimators those of its mirrored "
            "picture; --no-mirror keeps them"
        )
    elif rule:
        told.append("left and right kept as they are named (--no-mirror)")
    return told
