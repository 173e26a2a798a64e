from dataclasses import replace

import numpy as np
import pytest

from fastpose.data import get_layout
from fastpose.data.sources.unlabelled import find_faults, pack_unlabelled, unlabelled_clip

PENN = get_layout("penn13")
RNG = np.random.default_rng(0)
POINTS = RNG.uniform(10, 400, (2, 4, 13, 2)).astype(np.float32)
SCORES = RNG.uniform(0.1, 1, (2, 4, 13)).astype(np.float32)


def clip_of(keypoints, scores=None, image_size=(480, 640)):
    return unlabelled_clip({"keypoints": keypoints, "scores": scores, "image_size": image_size}, PENN, "a")


def packed_of(keypoints, scores=None):
    return pack_unlabelled([clip_of(keypoints, scores)], PENN, "test")


@pytest.mark.parametrize(
    ("keypoints", "scores"),
    [
        (POINTS, SCORES),
        (POINTS.tolist(), SCORES.tolist()),
        (np.concatenate([POINTS, SCORES[..., None]], -1), None),
        (POINTS.astype(np.float64), SCORES[..., None]),
    ],
)
def test_forms_of_one_clip(keypoints, scores):
    clip = packed_of(keypoints, scores).clip(0)
    assert np.array_equal(clip.keypoints, POINTS)
    assert np.array_equal(clip.scores, SCORES)


def test_one_person_needs_no_axis():
    for keypoints, scores in [(POINTS[0], SCORES[0]), (np.dstack([POINTS[0], SCORES[0]]), None)]:
        clip = packed_of(keypoints, scores).clip(0)
        assert np.array_equal(clip.keypoints, POINTS[:1])
        assert np.array_equal(clip.scores, SCORES[:1])


def test_none_and_nan_are_missing_joints():
    listed = POINTS.tolist()
    listed[0][0][3] = [None, None]
    listed[1][2][5] = [float("nan"), 3.0]
    missing = np.argwhere(packed_of(listed).clip(0).scores == 0)
    assert missing.tolist() == [[0, 0, 3], [1, 2, 5]]


@pytest.mark.parametrize(
    ("keypoints", "scores", "message"),
    [
        (None, None, "keypoints is missing"),
        (POINTS[..., :12, :], None, r"\[M, T, 13, 2\] for layout 'penn13', got \[2, 4, 12, 2\]"),
        (POINTS[:, :0], None, "no frame"),
        (POINTS[:0], None, "no person"),
        ([], None, r"got \[0\]"),
        (np.concatenate([POINTS, -SCORES[..., None]], -1), None, "a third number from .* which is no score"),
        (np.concatenate([POINTS, SCORES[..., None]], -1), SCORES, "three numbers per joint"),
        (POINTS, SCORES[0], r"scores must be \[2, 4, 13\]"),
        ("abc", None, "real numbers"),
        ([[[[1, 2]]], [[[1, 2], [3, 4]]]], None, "ragged"),
    ],
)
def test_what_is_no_clip(keypoints, scores, message):
    with pytest.raises(ValueError, match=f"clip 'a': .*{message}"):
        clip_of(keypoints, scores)


@pytest.mark.parametrize("size", [None, (480,), (0, 640), "big"])
def test_image_size_is_needed(size):
    with pytest.raises(ValueError, match="image_size"):
        clip_of(POINTS, image_size=size)


@pytest.mark.parametrize(
    ("keypoints", "scores", "message"),
    [
        (POINTS / 400, None, "look normalised .* multiply x by the image's width"),
        (POINTS / 280, None, "look normalised"),  # joints outside the image reach 1.4
        (POINTS / 200 - 1, None, r"look normalised, or like metres .* x = \(x \+ 1\) / 2"),
        (POINTS * np.nan, None, "no joint is present"),
        (POINTS, np.zeros_like(SCORES), "no joint is present"),
        (POINTS * 0, SCORES, "no joint is present"),
        (POINTS * 1e6, None, "every joint lies more than 1,000,000 pixels from the image"),
    ],
)
def test_faults(keypoints, scores, message):
    with pytest.raises(ValueError, match=message):
        clip_of(keypoints, scores)


def test_missing_joints_do_not_hide_or_make_a_fault():
    normalised = (POINTS / 400).copy()
    normalised[0, 0, 0] = 500
    scores = SCORES.copy()
    scores[0, 0, 0] = 0
    with pytest.raises(ValueError, match="look normalised"):
        clip_of(normalised, scores)
    small = POINTS.copy()
    small[:, 1:] = 0.5
    clip_of(small)


def test_a_stray_joint_does_not_make_pixels():
    normalised = (POINTS / 400).copy()
    normalised[0, 0, :5] = 500
    with pytest.raises(
        ValueError, match=r"look normalised \(all but 5 of 104 lie in 0\.\d+ to [01](\.\d+)?\)"
    ):
        clip_of(normalised)


@pytest.mark.parametrize("depth", [-0.5, 2.7, 900])
def test_a_third_number_that_is_no_score(depth):
    with pytest.raises(
        ValueError, match=rf"have a third number from {depth:g} to {depth:g}, which is no score"
    ):
        clip_of(np.concatenate([POINTS, np.full_like(POINTS[..., :1], depth)], axis=-1))
    clip_of(np.concatenate([POINTS, np.full_like(POINTS[..., :1], 1.2)], axis=-1))


def test_faults_are_found_clip_by_clip():
    clips = [
        unlabelled_clip({"keypoints": points, "image_size": (480, 640)}, PENN, name)
        for name, points in [("a", POINTS), ("b", POINTS), ("c", POINTS[:1, :1]), ("d", POINTS)]
    ]
    packed = pack_unlabelled(clips, PENN, "test")
    keypoints, scores = packed.keypoints.copy(), packed.scores.copy()
    keypoints[slice(*packed.offsets[1:3])] /= 400
    scores[slice(*packed.offsets[3:5])] = 0
    packed = replace(packed, keypoints=keypoints, scores=scores)
    faults = find_faults(packed)
    assert set(faults) == {1, 3}
    assert "look normalised" in faults[1]
    assert faults[3] == "no joint is present in any frame"
