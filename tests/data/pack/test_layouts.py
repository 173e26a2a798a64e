import json

import numpy as np
import pytest
from support.shared import shared_folder

from fastpose.data.pack.layouts import COCO17, COCO_WHOLEBODY133, HALPE136, LAYOUTS, Layout, get_layout


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=str)
def test_pairs_join_the_two_sides_of_one_joint(layout):
    sides = [joint for joint in layout.joints if joint.startswith(("left_", "right_"))]
    assert len(sides) == 2 * len(layout.pairs)
    for left, right in layout.pairs:
        assert layout.joints[left] == layout.joints[right].replace("right_", "left_")
        assert layout.joints[left].startswith("left_")


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=str)
def test_limbs_reach_every_joint(layout):
    reached = {0}
    for _ in layout.joints:
        reached |= {end for limb in layout.limbs if reached & set(limb) for end in limb}
    assert reached == set(range(layout.num_joints))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=str)
def test_flip_twice_is_identity(layout):
    flip = layout.flip_index()
    assert flip.dtype == np.int64
    np.testing.assert_array_equal(flip[flip], np.arange(layout.num_joints))
    assert (flip != np.arange(layout.num_joints)).sum() == 2 * len(layout.pairs)


SIZES = {
    "coco17": 17, "coco_wholebody133": 133, "halpe26": 26, "halpe136": 136, "openpose18": 18, "body25": 25,
    "h36m17": 17, "penn13": 13, "kinect25": 25, "kinect20": 20, "mediapipe33": 33,
}  # fmt: skip

# As the makers of each layout number them.
KNOWN_JOINTS = {
    "coco17": {0: "nose", 1: "left_eye", 5: "left_shoulder", 6: "right_shoulder", 16: "right_ankle"},
    "coco_wholebody133": {
        16: "right_ankle", 17: "left_big_toe", 18: "left_small_toe", 19: "left_heel", 20: "right_big_toe",
        22: "right_heel", 23: "right_jaw1", 31: "chin", 40: "right_brow1", 49: "left_brow1", 53: "nose_bridge4",
        56: "nose_base", 59: "right_eyelid1", 68: "left_eyelid1", 71: "right_lip1", 77: "left_lip1",
        91: "left_hand_root", 95: "left_thumb4", 96: "left_forefinger1", 111: "left_pinky_finger4",
        112: "right_hand_root", 132: "right_pinky_finger4",
    },
    "halpe26": {
        4: "right_ear", 17: "head_top", 18: "neck", 19: "hip", 20: "left_big_toe", 21: "right_big_toe",
        22: "left_small_toe", 24: "left_heel", 25: "right_heel",
    },
    "halpe136": {25: "right_heel", 26: "right_jaw1", 93: "right_inner_lip3", 94: "left_hand_root",
                 114: "left_pinky_finger4", 115: "right_hand_root", 135: "right_pinky_finger4"},
    "openpose18": {0: "nose", 1: "neck", 2: "right_shoulder", 4: "right_wrist", 5: "left_shoulder",
                   8: "right_hip", 11: "left_hip", 13: "left_ankle", 14: "right_eye", 17: "left_ear"},
    "body25": {1: "neck", 4: "right_wrist", 7: "left_wrist", 8: "mid_hip", 9: "right_hip", 14: "left_ankle",
               15: "right_eye", 18: "left_ear", 19: "left_big_toe", 20: "left_small_toe", 21: "left_heel",
               22: "right_big_toe", 24: "right_heel"},
    "h36m17": {0: "pelvis", 1: "right_hip", 4: "left_hip", 7: "spine", 8: "thorax", 9: "neck_nose",
               10: "head_top", 11: "left_shoulder", 16: "right_wrist"},
    "penn13": {0: "head", 1: "right_shoulder", 2: "left_shoulder", 11: "right_ankle", 12: "left_ankle"},
    "kinect25": {0: "spine_base", 2: "neck", 4: "left_shoulder", 11: "right_hand", 20: "spine_shoulder",
                 21: "left_hand_tip", 24: "right_thumb"},
    "kinect20": {0: "hip_center", 1: "spine", 2: "shoulder_center", 3: "head", 4: "left_shoulder",
                 7: "left_hand", 8: "right_shoulder", 12: "left_hip", 15: "left_foot", 19: "right_foot"},
    "mediapipe33": {1: "left_eye_inner", 5: "right_eye", 7: "left_ear", 9: "left_mouth", 11: "left_shoulder",
                    12: "right_shoulder", 15: "left_wrist", 17: "left_pinky", 20: "right_index",
                    22: "right_thumb", 23: "left_hip", 28: "right_ankle", 30: "right_heel",
                    31: "left_foot_index", 32: "right_foot_index"},
}  # fmt: skip


def test_sizes():
    assert {name: layout.num_joints for name, layout in LAYOUTS.items()} == SIZES


@pytest.mark.parametrize("name", LAYOUTS)
def test_known_joints(name):
    joints = LAYOUTS[name].joints
    assert {joint: joints[joint] for joint in KNOWN_JOINTS[name]} == KNOWN_JOINTS[name]


@pytest.mark.parametrize(("layout", "first"), [(COCO_WHOLEBODY133, 23), (HALPE136, 26)])
def test_sides_of_the_face_are_those_of_300w(layout, first):
    mirror = {joint: 16 - joint for joint in range(17)}  # the jaw
    mirror |= {joint: 43 - joint for joint in range(17, 27)}  # brows
    mirror |= {joint: joint for joint in range(27, 31)}  # bridge of the nose
    mirror |= {joint: 66 - joint for joint in range(31, 36)}  # nostrils
    for right, left in ((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)):  # eyes
        mirror |= {right: left, left: right}
    mirror |= {joint: 102 - joint for joint in range(48, 55)}  # outer lips, above and below
    mirror |= {joint: 114 - joint for joint in range(55, 60)}
    mirror |= {joint: 124 - joint for joint in range(60, 65)}  # inner lips
    mirror |= {joint: 132 - joint for joint in range(65, 68)}
    flip = layout.flip_index()[first : first + 68] - first
    assert flip.tolist() == [mirror[joint] for joint in range(68)]
    assert all(layout.joints[first + joint].startswith("right_") for joint in (0, 17, 31, 36, 48))


def test_coco_limbs_are_those_of_the_published_heatmaps_in_their_order():
    params = json.loads(str(np.load(shared_folder() / "oracles/heatmaps.npz")["limb_ntu/params"]))
    assert COCO17.limbs == tuple(tuple(limb) for limb in params["skeletons"])


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=str)
def test_json_round_trip_through_a_file(layout, tmp_path):
    path = tmp_path / "layout.json"
    path.write_text(json.dumps(layout.to_json()))
    assert get_layout(path) == layout
    assert get_layout(str(path)) == layout
    assert get_layout(layout.name) is layout
    assert get_layout(layout) is layout


GOOD = {"name": "two", "joints": ["a", "b"], "pairs": [[0, 1]], "limbs": [[0, 1]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": []}, "one or more"),
        ({"joints": ["a", "a"]}, "distinct"),
        ({"joints": ["a", ""]}, "non-empty"),
        ({"joints": "ab"}, "list"),
        ({"joints": 3}, "list"),
        ({"name": ""}, "name"),
        ({"name": 3}, "name"),
        ({"pairs": [[0, 2]]}, r"0\.\.1"),
        ({"pairs": [[0, -1]]}, r"0\.\.1"),
        ({"pairs": [[0, 1], [1, 0]]}, "two pairs"),
        ({"pairs": [[0, 0]]}, "two of"),
        ({"pairs": [0, 1]}, "pairs of joint numbers"),
        ({"limbs": [[0, 1, 0]]}, "pairs of joint numbers"),
        ({"limbs": [[0, 1.0]]}, "pairs of joint numbers"),
        ({"limbs": [[True, False]]}, "pairs of joint numbers"),
        ({"limbs": [["a", "b"]]}, "pairs of joint numbers"),
        ({"bones": []}, "bones"),
    ],
)
def test_bad_layout_files_name_file_and_fault(change, message, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(ValueError, match=message) as caught:
        get_layout(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "fields", [{"joints": 5}, {"joints": ["a"], "pairs": 1}, {"joints": ["a"], "limbs": None}]
)
def test_members_that_are_no_tuples(fields):
    with pytest.raises(ValueError, match=r"layout 'x': \w+ must be a tuple, got \w+$"):
        Layout("x", **fields)


def test_files_that_are_no_json_objects(tmp_path):
    path = tmp_path / "mine.json"
    for text in ("", "[1]", "{", '{"name": "x"}', "[" * 100_000, "\x00\xff"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"mine\.json"):
            get_layout(path)


def test_unknown_layout_lists_the_known():
    with pytest.raises(
        ValueError, match="coco17, coco_wholebody133, halpe26, halpe136, openpose18, body25, h36m17"
    ):
        get_layout("coco18")
