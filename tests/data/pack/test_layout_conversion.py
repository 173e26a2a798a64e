import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.shared import shared_folder

from fastpose.data.pack.layouts import (
    BODY25,
    COCO17,
    COCO_WHOLEBODY133,
    H36M17,
    HALPE26,
    KINECT20,
    KINECT25,
    LAYOUTS,
    MEDIAPIPE33,
    PENN13,
    Layout,
    conversion,
    convert,
    exchanges_sides,
    tell_conversion,
)
from fastpose.data.pack.presence import present_joints

layouts = st.sampled_from(list(LAYOUTS.values()))


def random_joints(seed: int, layout: Layout, missing: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints [2, 3, V, 2] and scores [2, 3, V], some of them 0."""
    generator = np.random.default_rng(seed)
    keypoints = generator.uniform(0, 1000, (2, 3, layout.num_joints, 2))
    scores = generator.uniform(0.1, 1, keypoints.shape[:-1])
    scores[generator.random(scores.shape) < missing] = 0
    return keypoints, scores


def made_of(source: Layout, target: Layout, exchange_sides: bool = False) -> dict[str, set[str]]:
    """The names of the joints that each joint of ``target`` is the mean of."""
    sources = conversion(source, target, exchange_sides=exchange_sides)
    return {
        name: {source.joints[joint] for joint in joints}
        for name, joints in zip(target.joints, sources, strict=True)
    }


def test_coco_to_h36m_agrees_with_motionbert():
    oracle = np.load(shared_folder() / "oracles/motionbert_data.npz")
    keypoints, scores = convert(oracle["track"], oracle["score"], COCO17, H36M17)
    np.testing.assert_allclose(keypoints, oracle["h36m"], atol=1e-6)
    np.testing.assert_array_equal(scores[..., 0], oracle["score"][..., 11:13].min(-1))


@given(source=layouts, target=layouts, exchange=st.booleans())
def test_a_joint_of_the_same_name_is_taken_as_it_is(source, target, exchange):
    joints = made_of(source, target, exchange)
    other = {"left": "right", "right": "left"}
    for name in set(source.joints) & set(target.joints):
        side, _, rest = name.partition("_")
        expected = f"{other[side]}_{rest}" if exchange and side in other else name
        assert joints[name] == {expected}


@given(
    seed=st.integers(0, 1000), source=layouts, target=layouts, exchange=st.sampled_from([None, False, True])
)
def test_there_and_back_keeps_shared_joints(seed, source, target, exchange):
    keypoints, scores = random_joints(seed, source)
    there = convert(keypoints, scores, source, target, exchange_sides=exchange)
    back, back_scores = convert(*there, target, source, exchange_sides=exchange)
    shared = [source.joints.index(name) for name in set(source.joints) & set(target.joints)]
    np.testing.assert_array_equal(back[..., shared, :], keypoints[..., shared, :])
    np.testing.assert_array_equal(back_scores[..., shared], scores[..., shared])


@given(
    seed=st.integers(0, 1000), source=layouts, target=layouts, exchange=st.sampled_from([None, False, True])
)
def test_a_mirrored_person_is_converted_into_a_mirrored_person(seed, source, target, exchange):
    keypoints, scores = random_joints(seed, source)
    flip, flip_target = source.flip_index(), target.flip_index()
    of_mirrored = convert(keypoints[..., flip, :], scores[..., flip], source, target, exchange_sides=exchange)
    mirrored = convert(keypoints, scores, source, target, exchange_sides=exchange)
    np.testing.assert_allclose(of_mirrored[0], mirrored[0][..., flip_target, :], rtol=1e-12)
    np.testing.assert_array_equal(of_mirrored[1], mirrored[1][..., flip_target])


@given(seed=st.integers(0, 1000), source=layouts, target=layouts)
def test_exchanging_sides_is_converting_and_naming_the_other_side(seed, source, target):
    keypoints, scores = random_joints(seed, source)
    kept = convert(keypoints, scores, source, target, exchange_sides=False)
    exchanged = convert(keypoints, scores, source, target, exchange_sides=True)
    np.testing.assert_array_equal(exchanged[0], kept[0][..., target.flip_index(), :])
    np.testing.assert_array_equal(exchanged[1], kept[1][..., target.flip_index()])


@given(seed=st.integers(0, 1000), source=layouts, target=layouts)
def test_a_joint_is_the_mean_of_its_sources_with_their_smallest_score(seed, source, target):
    keypoints, scores = random_joints(seed, source)
    found, found_scores = convert(
        keypoints.astype(np.float32), scores.astype(np.float32), source, target, exchange_sides=False
    )
    assert found.dtype == found_scores.dtype == np.float32
    for joint, sources in enumerate(map(list, conversion(source, target))):
        mean = keypoints[..., sources, :].mean(-2) if sources else np.zeros((2, 3, 2))
        np.testing.assert_allclose(found[..., joint, :], mean, rtol=1e-6)
        least = scores[..., sources].min(-1) if sources else np.zeros((2, 3))
        np.testing.assert_allclose(found_scores[..., joint], least, rtol=1e-6)


@given(source=layouts, target=layouts)
def test_limbs_and_the_middle_of_the_body_can_always_be_made(source, target):
    for name, parts in made_of(source, target).items():
        side, _, rest = name.partition("_")
        if side not in ("left", "right"):
            assert parts or target.num_joints > 100, (
                name
            )  # head, neck, spine, hips; but not the middle of a face
        elif rest in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
            assert parts == {name}
        else:
            assert all(part.startswith(side) for part in parts)


@pytest.mark.parametrize("source", LAYOUTS.values(), ids=str)
def test_every_layout_makes_all_joints_of_h36m_and_penn(source):
    assert all(conversion(source, H36M17))
    assert all(conversion(source, PENN13))


SHOULDERS = {"left_shoulder", "right_shoulder"}
HIPS = {"left_hip", "right_hip"}
EYES = {"left_eye", "right_eye"}


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (COCO17, PENN13, {"head": {"nose"}}),
        (HALPE26, PENN13, {"head": {"nose"}}),
        (KINECT25, PENN13, {"head": {"head"}}),
        (H36M17, PENN13, {"head": {"neck_nose", "head_top"}}),
        (PENN13, COCO17, {"nose": {"head"}, "left_eye": set(), "right_ear": set()}),
        (H36M17, COCO17, {"nose": {"neck_nose"}, "left_eye": set()}),
        (KINECT25, COCO17, {"nose": {"head"}, "left_ear": set()}),
        (COCO17, BODY25, {"neck": SHOULDERS, "mid_hip": HIPS, "left_heel": set()}),
        (BODY25, H36M17, {"pelvis": {"mid_hip"}, "thorax": SHOULDERS, "spine": SHOULDERS | HIPS,
                          "neck_nose": {"nose"}, "head_top": EYES}),
        (HALPE26, H36M17, {"pelvis": {"hip"}, "head_top": {"head_top"}, "neck_nose": {"nose"}}),
        (HALPE26, BODY25, {"neck": {"neck"}, "mid_hip": {"hip"}, "left_small_toe": {"left_small_toe"}}),
        (MEDIAPIPE33, H36M17, {"pelvis": HIPS, "head_top": EYES}),
        (MEDIAPIPE33, COCO17, {"left_eye": {"left_eye"}, "left_ear": {"left_ear"}}),
        (MEDIAPIPE33, HALPE26, {"left_big_toe": {"left_foot_index"}, "left_small_toe": set(),
                                "head_top": EYES}),
        (MEDIAPIPE33, KINECT25, {"left_hand": {"left_wrist", "left_index", "left_pinky"},
                                 "left_foot": {"left_foot_index"}, "left_hand_tip": set()}),
        (COCO_WHOLEBODY133, KINECT25, {"right_hand": {"right_wrist", "right_middle_finger1"},
                                       "right_hand_tip": {"right_middle_finger4"},
                                       "right_foot": {"right_big_toe"}}),
        (COCO_WHOLEBODY133, MEDIAPIPE33, {"left_index": {"left_forefinger1"}, "left_mouth": {"left_lip1"},
                                          "right_eye_outer": {"right_eyelid1"},
                                          "left_foot_index": {"left_big_toe"}, "left_heel": {"left_heel"}}),
        (COCO17, COCO_WHOLEBODY133, {"left_hand_root": {"left_wrist"}, "left_thumb1": set(), "chin": set()}),
        (KINECT20, KINECT25, {"spine_base": {"hip_center"}, "spine_mid": {"spine"},
                              "spine_shoulder": {"shoulder_center"}, "left_hand": {"left_hand"},
                              "left_thumb": set()}),
        (KINECT20, H36M17, {"neck_nose": {"shoulder_center", "head"}, "head_top": {"head"}}),
    ],
    ids=lambda value: value.name if isinstance(value, Layout) else "",
)  # fmt: skip
def test_joints_that_go_by_other_names(source, target, expected):
    joints = made_of(source, target)
    assert {name: joints[name] for name in expected} == expected


def test_which_layouts_exchange_sides():
    kinects = {"kinect25", "kinect20"}
    for source, target in itertools.product(LAYOUTS.values(), repeat=2):
        assert exchanges_sides(source, target) == ((source.name in kinects) != (target.name in kinects))
    assert exchanges_sides(KINECT25, Layout("mine", ("nose",)))
    assert exchanges_sides(Layout("of another name", KINECT25.joints), COCO17)


def test_left_and_right_of_kinect_change_places_for_estimators_joints():
    keypoints, scores = random_joints(0, KINECT25, missing=0)
    left, right = KINECT25.joints.index("left_knee"), KINECT25.joints.index("right_knee")
    at = COCO17.joints.index("left_knee")
    for exchange, joint in ((None, right), (True, right), (False, left)):
        found = convert(keypoints, scores, KINECT25, COCO17, exchange_sides=exchange)
        np.testing.assert_array_equal(found[0][..., at, :], keypoints[..., joint, :])
        np.testing.assert_array_equal(found[1][..., at], scores[..., joint])
    same = convert(keypoints, scores, KINECT25, KINECT25, exchange_sides=True)
    np.testing.assert_array_equal(same[0][..., left, :], keypoints[..., right, :])


def test_what_is_told():
    assert tell_conversion(COCO17, COCO17) == []
    assert tell_conversion(COCO17, PENN13) == ["joints of coco17 made into those of penn13"]
    (joints, sides) = tell_conversion(KINECT25, COCO17)
    assert joints == (
        "joints of kinect25 made into those of coco17; missing: left_eye, right_eye, left_ear, right_ear"
    )
    assert sides.startswith("left and right exchanged")
    assert "--no-mirror" in sides
    (joints, sides) = tell_conversion(KINECT25, COCO_WHOLEBODY133, exchange_sides=False)
    assert joints.endswith("missing: 112 of 133 joints")
    assert sides == "left and right kept as they are named (--no-mirror)"
    assert len(tell_conversion(KINECT20, KINECT25)) == 1


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


def test_layouts_of_ones_own_are_converted_by_their_names():
    mine = Layout("mine", ("marker", *COCO17.joints[5:], "head"))
    assert conversion(mine, PENN13)[0] == (13,)
    assert conversion(mine, H36M17)[0] == (7, 8)
    assert conversion(COCO17, mine) == ((), *((joint,) for joint in range(5, 17)), (0,))


@pytest.mark.parametrize(
    ("source", "target", "made"),
    [
        (Layout("coco17", tuple(f"joint {v}" for v in range(17))), H36M17, "none of the 17"),
        (COCO17, Layout("hand", ("palm", "thumb", "index", "middle")), "none of the 4"),
        (Layout("animal", ("nose", "tail", "paw")), COCO17, "1 of the 17"),
    ],
)
def test_layouts_that_share_too_few_names_are_not_converted(source, target, made):
    v = source.num_joints
    message = f"no conversion from layout '{source.name}' to '{target.name}': by their names, {made} joints"
    with pytest.raises(ValueError, match=message):
        convert(np.zeros((v, 2)), np.zeros(v), source, target)


def test_conversion_refuses_arrays_of_another_layout():
    with pytest.raises(ValueError, match=r"coco17.*\(25, 2\)"):
        convert(np.zeros((25, 2)), np.zeros(25), COCO17, H36M17)
