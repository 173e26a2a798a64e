"""Movement of a clip and its noise coefficient."""

import math

import numpy as np
import pytest
from support.sampling import make_pack
from support.shared import shared_folder

from fastpose._native import native
from fastpose.data.core import REFERENCES
from fastpose.data.sampling.noise import total_difference


@pytest.mark.parametrize("case", ["clip", "middle", "still"])
def test_total_difference_oracle(case):
    oracle = np.load(shared_folder() / "oracles" / "noise.npz")
    keypoints = oracle[f"{case}/keypoints"]
    moved, coefficient = total_difference(keypoints, np.ones(keypoints.shape[:3]), (1080, 1920))
    np.testing.assert_allclose(moved, oracle[f"{case}/total_difference"], rtol=1e-9)
    np.testing.assert_allclose(coefficient, oracle[f"{case}/coefficient"], rtol=1e-9)
    persons, frames = keypoints.shape[:2]
    rounded = keypoints.astype(np.float32)
    packed = native.total_differences(
        rounded.reshape(persons * frames, -1, 2),
        np.ones((persons * frames, keypoints.shape[2]), np.float32),
        np.array([0, persons * frames]),
        np.array([frames], np.int32),
        1,
    )
    np.testing.assert_allclose(packed, [total_difference(rounded, None, (1080, 1920))[0]], rtol=1e-12)
    np.testing.assert_allclose(packed, [moved], rtol=1e-5)  # the rounding of the coordinates


def test_total_difference_leaves_out_steps_of_missing_joints():
    keypoints = np.zeros((2, 4, 2, 2))
    keypoints[0, :, 0, 0] = [1, 4, 1000, 8]
    keypoints[0, :, 1, 1] = [2, 4, 8, 16]
    keypoints[1] = np.random.default_rng(0).uniform(0, 100, (4, 2, 2))  # the second person does not count
    scores = np.ones((2, 4, 2))
    for missing in (0.0, -1.0, math.nan, math.inf):
        scores[0, 2, 0] = missing
        assert total_difference(keypoints, scores, (1080, 1920))[0] == 3 + 14
    keypoints[0, 2, 0, 0] = math.nan
    assert total_difference(keypoints, np.ones((2, 4, 2)), (1080, 1920))[0] == 3 + 14


def test_without_scores_the_origin_is_missing():
    keypoints = np.zeros((1, 3, 1, 2))
    keypoints[0, :, 0] = [(3, 4), (0, 0), (6, 8)]
    assert total_difference(keypoints, None, (1080, 1920)) == (0.0, 0.2)
    keypoints[0, 1, 0] = (0, 1)
    assert total_difference(keypoints, None, (1080, 1920))[0] == math.hypot(3, 3) + math.hypot(6, 7)


def test_the_coefficient_does_not_depend_on_resolution():
    keypoints = np.random.default_rng(0).uniform(0, 30, (1, 20, 5, 2))
    (large, c), (small, c_small) = (
        total_difference(keypoints * scale, None, (1080 * scale, 1920 * scale)) for scale in (1, 0.25)
    )
    assert 0.2 < c < 1
    assert small == pytest.approx(large / 4)
    assert c_small == pytest.approx(c)


@pytest.mark.parametrize("frames", [0, 1])
def test_a_clip_without_steps_does_not_move(frames):
    assert total_difference(np.ones((1, frames, 3, 2)), None, (10, 10)) == (0.0, 0.2)


def test_bad_input_of_total_difference():
    with pytest.raises(ValueError, match=r"\[M, T, V, 2\], got shape \[4, 3, 2\]"):
        total_difference(np.ones((4, 3, 2)), None, (10, 10))
    with pytest.raises(ValueError, match=r"scores must be \[1, 4, 3\]"):
        total_difference(np.ones((1, 4, 3, 2)), np.ones((4, 3)), (10, 10))
    with pytest.raises(ValueError, match="image_size"):
        total_difference(np.ones((1, 4, 3, 2)), None, (0, 10))


def test_native_total_differences_agree_for_any_thread_count():
    pack = make_pack([(1 + i % 3, 1 + i) for i in range(50)], 5, missing=0.3)
    pack.keypoints[7, 2] = np.nan
    expected = []
    for i, (persons, frames) in enumerate(zip(pack.num_persons, pack.num_frames, strict=True)):
        rows = slice(pack.offsets[i], pack.offsets[i + 1])
        keypoints = pack.keypoints[rows].reshape(persons, frames, 5, 2)
        scores = pack.scores[rows].reshape(persons, frames, 5)
        expected.append(total_difference(keypoints, scores, (1080, 1920))[0])
    results = [
        native.total_differences(pack.keypoints, pack.scores, pack.offsets, pack.num_frames, threads)
        for threads in (1, 2, 4)
    ]
    np.testing.assert_allclose(results[0], expected, rtol=1e-12)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    reference = REFERENCES.total_differences(pack.keypoints, pack.scores, pack.offsets, pack.num_frames)
    np.testing.assert_array_equal(results[0], reference)
