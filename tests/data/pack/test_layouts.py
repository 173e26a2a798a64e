import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.shared import shared_folder

from fastpose.data.pack.layouts import COCO17, H36M17, KINECT25, LAYOUTS, PENN13, Layout, convert, get_layout
from fastpose.data.pack.presence import present_joints


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


def test_sizes_and_known_joints():
    assert {name: layout.num_joints for name, layout in LAYOUTS.items()} == {
        "kinect25": 25, "h36m17": 17, "coco17": 17, "penn13": 13,
    }  # fmt: skip
    assert KINECT25.joints[20] == "spine_shoulder"
    assert COCO17.joints[5:7] == ("left_shoulder", "right_shoulder")
    assert COCO17.joints[15:] == ("left_ankle", "right_ankle")
    assert H36M17.joints[1] == "right_hip"
    assert PENN13.joints[11] == "right_ankle"


def test_coco_limbs_are_those_of_the_published_heatmaps_in_their_order():
    params = json.loads(str(np.load(shared_folder() / "oracles/heatmaps.npz")["limb_ntu/params"]))
    assert COCO17.limbs == tuple(tuple(limb) for limb in params["skeletons"])


def test_coco_to_h36m_agrees_with_motionbert():
    oracle = np.load(shared_folder() / "oracles/motionbert_data.npz")
    keypoints, scores = convert(oracle["track"], oracle["score"], COCO17, H36M17)
    np.testing.assert_allclose(keypoints, oracle["h36m"], atol=1e-6)
    np.testing.assert_array_equal(scores[..., 0], oracle["score"][..., 11:13].min(-1))


@given(seed=st.integers(0, 1000), missing=st.sets(st.integers(0, 24)))
def test_conversion_from_kinect_takes_the_joint_of_that_name(seed, missing):
    keypoints = np.random.default_rng(seed).uniform(0, 1000, (2, 3, 25, 2)).astype(np.float32)
    scores = np.ones((2, 3, 25), np.float32)
    scores[..., list(missing)] = 0
    for target in (COCO17, H36M17):
        out_keypoints, out_scores = convert(keypoints, scores, KINECT25, target)
        assert out_keypoints.dtype == out_scores.dtype == np.float32
        for joint, name in enumerate(target.joints):
            if name in KINECT25.joints:
                source = KINECT25.joints.index(name)
                np.testing.assert_array_equal(out_keypoints[..., joint, :], keypoints[..., source, :])
                np.testing.assert_array_equal(out_scores[..., joint], scores[..., source])
            elif name.endswith(("_eye", "_ear")):
                assert not out_scores[..., joint].any()
                assert not out_keypoints[..., joint, :].any()
    np.testing.assert_array_equal(out_keypoints[..., 8, :], keypoints[..., 20, :])
    nose = convert(keypoints, scores, KINECT25, COCO17)[0][..., 0, :]
    np.testing.assert_array_equal(nose, keypoints[..., 3, :])


def test_a_joint_made_of_several_is_missing_if_one_is():
    keypoints = np.arange(34, dtype=np.float32).reshape(1, 17, 2)
    scores = np.full((1, 17), 0.5, np.float32)
    scores[0, 12] = 0
    out_keypoints, out_scores = convert(keypoints, scores, COCO17, H36M17)
    assert [joint for joint in range(17) if out_scores[0, joint] == 0] == [0, 1, 7]
    np.testing.assert_array_equal(out_keypoints[0, 0], [23, 24])  # (22, 23) and (24, 25)
    np.testing.assert_array_equal(out_keypoints[0, 8], [11, 12])


@pytest.mark.parametrize(("left", "right"), [(100, 1.5e6), (-1.5e6, 1.5e6), (-3e38, -3e38)])
def test_a_joint_made_of_one_too_far_away_stays_too_far_away(left, right):
    keypoints = np.full((2, 17, 2), 100, np.float32)
    keypoints[0, 11:13, 0] = left, right  # the hips
    scores = np.ones((2, 17), np.float32)
    found, found_scores = convert(keypoints, scores, COCO17, H36M17)
    assert np.isfinite(found).all()
    assert not present_joints(found[0], found_scores[0])[[0, 7]].any()  # pelvis and spine
    np.testing.assert_array_equal(found[1], 100)


def test_identity_returns_the_same_arrays():
    keypoints, scores = np.zeros((1, 13, 2)), np.zeros((1, 13))
    assert convert(keypoints, scores, PENN13, PENN13) == (keypoints, scores)


@pytest.mark.parametrize(("source", "target"), [(PENN13, COCO17), (H36M17, COCO17), (COCO17, KINECT25)])
def test_unknown_conversion_names_both(source, target):
    v = source.num_joints
    with pytest.raises(ValueError, match=f"{source.name}.*{target.name}"):
        convert(np.zeros((v, 2)), np.zeros(v), source, target)


def test_a_layout_that_only_borrows_a_name_is_not_converted():
    impostor = Layout("coco17", tuple(f"joint {v}" for v in range(17)), (), ())
    with pytest.raises(ValueError, match="no conversion"):
        convert(np.zeros((17, 2)), np.zeros(17), impostor, H36M17)


def test_conversion_refuses_arrays_of_another_layout():
    with pytest.raises(ValueError, match=r"coco17.*\(25, 2\)"):
        convert(np.zeros((25, 2)), np.zeros(25), COCO17, H36M17)


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
    with pytest.raises(ValueError, match="kinect25, h36m17, coco17, penn13"):
        get_layout("coco18")
