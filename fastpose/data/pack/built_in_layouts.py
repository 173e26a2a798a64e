"""The joint layouts that data sets and pose estimators use, in the order that each publishes.

Joints that are the same have the same name in all layouts, but for a few that their makers call otherwise
(``fastpose.data.pack.layout_conversion`` knows both names). Left and right are the person's.
"""

from itertools import pairwise

from fastpose.data.pack.layout import Layout

SIDES = ("left", "right")


def _sides(*names: str) -> tuple[str, ...]:
    return tuple(f"{side}_{name}" for name in names for side in SIDES)


def _one_side(side: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{side}_{name}" for name in names)


def _numbered(name: str, numbers: range) -> tuple[str, ...]:
    return tuple(f"{name}{number}" for number in numbers)


def _chains(joints: tuple[str, ...], *chains: str) -> tuple[tuple[int, int], ...]:
    """Return the limbs along chains of names parted by spaces; ``{}`` in a name stands for either side."""
    limbs: dict[tuple[int, int], None] = {}
    for chain in chains:
        for side in SIDES:
            path = [joints.index(name) for name in chain.format(*[side] * chain.count("{}")).split()]
            limbs.update(dict.fromkeys(pairwise(path)))
    return tuple(limbs)


def _layout(name: str, joints: tuple[str, ...], limbs: tuple[tuple[int, int], ...]) -> Layout:
    """Return the layout whose pairs are the joints named left_… and right_…."""
    pairs = tuple(
        (left, joints.index(joint.replace("left_", "right_", 1)))
        for left, joint in enumerate(joints)
        if joint.startswith("left_")
    )
    return Layout(name, joints, pairs, limbs)


# Kinect for Windows SDK 2, JointType; NTU RGB+D.
KINECT25 = _layout(
    "kinect25",
    (
        "spine_base", "spine_mid", "neck", "head",
        "left_shoulder", "left_elbow", "left_wrist", "left_hand",
        "right_shoulder", "right_elbow", "right_wrist", "right_hand",
        "left_hip", "left_knee", "left_ankle", "left_foot",
        "right_hip", "right_knee", "right_ankle", "right_foot",
        "spine_shoulder", "left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb",
    ),
    (
        (0, 1), (1, 20), (20, 2), (2, 3),
        (20, 4), (4, 5), (5, 6), (6, 7), (7, 21), (7, 22),
        (20, 8), (8, 9), (9, 10), (10, 11), (11, 23), (11, 24),
        (0, 12), (12, 13), (13, 14), (14, 15), (0, 16), (16, 17), (17, 18), (18, 19),
    ),
)  # fmt: skip

# Kinect for Windows SDK 1, NUI_SKELETON_POSITION_INDEX; Northwestern-UCLA.
KINECT20 = _layout(
    "kinect20",
    (
        "hip_center", "spine", "shoulder_center", "head",
        *_one_side("left", "shoulder", "elbow", "wrist", "hand"),
        *_one_side("right", "shoulder", "elbow", "wrist", "hand"),
        *_one_side("left", "hip", "knee", "ankle", "foot"),
        *_one_side("right", "hip", "knee", "ankle", "foot"),
    ),
    (
        (0, 1), (1, 2), (2, 3), (2, 4), (4, 5), (5, 6), (6, 7), (2, 8), (8, 9), (9, 10), (10, 11),
        (0, 12), (12, 13), (13, 14), (14, 15), (0, 16), (16, 17), (17, 18), (18, 19),
    ),
)  # fmt: skip

# Human3.6M as MotionBERT and VideoPose3D order it.
H36M17 = _layout(
    "h36m17",
    (
        "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
        "spine", "thorax", "neck_nose", "head_top",
        "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
    ),
    (
        (0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10),
        (8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16),
    ),
)  # fmt: skip

# COCO. Limbs in the order of PYSKL's published limb models, whose channels they are.
COCO17 = _layout(
    "coco17",
    ("nose", *_sides("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")),
    (
        (0, 5), (0, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (11, 13), (13, 15),
        (6, 12), (12, 14), (14, 16), (0, 1), (0, 2), (1, 3), (2, 4), (11, 12),
    ),
)  # fmt: skip

# Penn Action. The data set's odd joints are the anatomical right, its head is the middle of the head.
PENN13 = _layout(
    "penn13",
    (
        "head", "right_shoulder", "left_shoulder", "right_elbow", "left_elbow", "right_wrist", "left_wrist",
        "right_hip", "left_hip", "right_knee", "left_knee", "right_ankle", "left_ankle",
    ),
    (
        (0, 1), (0, 2), (1, 2), (1, 3), (3, 5), (2, 4), (4, 6),
        (1, 7), (2, 8), (7, 8), (7, 9), (9, 11), (8, 10), (10, 12),
    ),
)  # fmt: skip

# OpenPose's BODY_25 model; its neck is the middle of the shoulders.
BODY25 = _layout(
    "body25",
    (
        "nose", "neck", *_one_side("right", "shoulder", "elbow", "wrist"),
        *_one_side("left", "shoulder", "elbow", "wrist"),
        "mid_hip", *_one_side("right", "hip", "knee", "ankle"), *_one_side("left", "hip", "knee", "ankle"),
        "right_eye", "left_eye", "right_ear", "left_ear",
        *_one_side("left", "big_toe", "small_toe", "heel"), *_one_side("right", "big_toe", "small_toe", "heel"),
    ),
    (
        (1, 8), (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (10, 11),
        (8, 12), (12, 13), (13, 14), (1, 0), (0, 15), (15, 17), (0, 16), (16, 18),
        (14, 19), (19, 20), (14, 21), (11, 22), (22, 23), (11, 24),
    ),
)  # fmt: skip

# OpenPose's COCO model; Kinetics-skeleton.
OPENPOSE18 = _layout(
    "openpose18",
    (
        "nose", "neck", *_one_side("right", "shoulder", "elbow", "wrist"),
        *_one_side("left", "shoulder", "elbow", "wrist"),
        *_one_side("right", "hip", "knee", "ankle"), *_one_side("left", "hip", "knee", "ankle"),
        "right_eye", "left_eye", "right_ear", "left_ear",
    ),
    (
        (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10),
        (1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
    ),
)  # fmt: skip

# The 33 landmarks of MediaPipe's pose (BlazePose).
_MEDIAPIPE = (
    "nose", *_one_side("left", "eye_inner", "eye", "eye_outer"), *_one_side("right", "eye_inner", "eye", "eye_outer"),
    *_sides(
        "ear", "mouth", "shoulder", "elbow", "wrist", "pinky", "index", "thumb",
        "hip", "knee", "ankle", "heel", "foot_index",
    ),
)  # fmt: skip
MEDIAPIPE33 = _layout(
    "mediapipe33",
    _MEDIAPIPE,
    _chains(
        _MEDIAPIPE,
        "nose {}_eye_inner {}_eye {}_eye_outer {}_ear",
        "nose {}_mouth",
        "nose {}_shoulder {}_elbow {}_wrist {}_pinky {}_index {}_wrist {}_thumb",
        "left_shoulder right_shoulder",
        "{}_shoulder {}_hip {}_knee {}_ankle {}_heel {}_foot_index {}_ankle",
        "left_hip right_hip",
    ),
)

# 68 points of a face in the order of iBUG's 300-W, 21 of a hand in that of CMU Panoptic: of COCO-WholeBody and Halpe.
_FACE = (
    *_numbered("right_jaw", range(1, 9)), "chin", *_numbered("left_jaw", range(8, 0, -1)),
    *_numbered("right_brow", range(1, 6)), *_numbered("left_brow", range(5, 0, -1)),
    *_numbered("nose_bridge", range(1, 5)),
    "right_nostril1", "right_nostril2", "nose_base", "left_nostril2", "left_nostril1",
    *_numbered("right_eyelid", range(1, 7)), *_one_side("left", *(f"eyelid{i}" for i in (4, 3, 2, 1, 6, 5))),
    *_numbered("right_lip", range(1, 4)), "lip_top", *_numbered("left_lip", range(3, 0, -1)),
    "left_lip4", "left_lip5", "lip_bottom", "right_lip5", "right_lip4",
    "right_inner_lip1", "right_inner_lip2", "inner_lip_top", "left_inner_lip2", "left_inner_lip1",
    "left_inner_lip3", "inner_lip_bottom", "right_inner_lip3",
)  # fmt: skip
_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
_HAND = ("hand_root", *(name for finger in _FINGERS for name in _numbered(finger, range(1, 5))))
_HANDS = (*_one_side("left", *_HAND), *_one_side("right", *_HAND))
_FACE_CHAINS = (
    "{}_ear {}_jaw1 {}_jaw2 {}_jaw3 {}_jaw4 {}_jaw5 {}_jaw6 {}_jaw7 {}_jaw8 chin",
    "{}_brow1 {}_brow2 {}_brow3 {}_brow4 {}_brow5 nose_bridge1",
    "nose nose_bridge4",
    "nose_bridge1 nose_bridge2 nose_bridge3 nose_bridge4 nose_base lip_top",
    "{}_nostril1 {}_nostril2 nose_base",
    "{}_eye {}_eyelid1 {}_eyelid2 {}_eyelid3 {}_eyelid4 {}_eyelid5 {}_eyelid6 {}_eyelid1",
    "lip_top {}_lip3 {}_lip2 {}_lip1 {}_lip4 {}_lip5 lip_bottom",
    "inner_lip_top {}_inner_lip2 {}_inner_lip1 {}_inner_lip3 inner_lip_bottom",
    "{}_lip1 {}_inner_lip1",
)
_HAND_CHAINS = (
    "{}_wrist {}_hand_root",
    *(f"{{}}_hand_root {{}}_{f}1 {{}}_{f}2 {{}}_{f}3 {{}}_{f}4" for f in _FINGERS),
)
_HEAD_AND_LIMBS = (
    "nose {}_eye {}_ear {}_shoulder {}_elbow {}_wrist",
    "left_eye right_eye",
    "{}_hip {}_knee {}_ankle {}_big_toe",
    "{}_ankle {}_small_toe",
    "{}_ankle {}_heel",
)

_WHOLE_BODY = (
    *COCO17.joints, *_one_side("left", "big_toe", "small_toe", "heel"),
    *_one_side("right", "big_toe", "small_toe", "heel"), *_FACE, *_HANDS,
)  # fmt: skip
COCO_WHOLEBODY133 = _layout(
    "coco_wholebody133",
    _WHOLE_BODY,
    _chains(
        _WHOLE_BODY,
        *_HEAD_AND_LIMBS,
        "left_shoulder right_shoulder",
        "{}_shoulder {}_hip",
        "left_hip right_hip",
        *_FACE_CHAINS,
        *_HAND_CHAINS,
    ),
)

# Halpe, which AlphaPose and MMPose estimate. Its "Head" is the top of the head.
_HALPE26 = (*COCO17.joints, "head_top", "neck", "hip", *_sides("big_toe", "small_toe", "heel"))
_HALPE_BODY = (*_HEAD_AND_LIMBS, "head_top neck hip", "neck {}_shoulder", "hip {}_hip")
HALPE26 = _layout("halpe26", _HALPE26, _chains(_HALPE26, *_HALPE_BODY))
_HALPE136 = (*_HALPE26, *_FACE, *_HANDS)
HALPE136 = _layout("halpe136", _HALPE136, _chains(_HALPE136, *_HALPE_BODY, *_FACE_CHAINS, *_HAND_CHAINS))

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        COCO17,
        COCO_WHOLEBODY133,
        HALPE26,
        HALPE136,
        OPENPOSE18,
        BODY25,
        H36M17,
        PENN13,
        KINECT25,
        KINECT20,
        MEDIAPIPE33,
    )
}
