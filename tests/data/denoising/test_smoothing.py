"""Smoothing by Stein's risk: native code is the reference, noise goes, motion stays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpose._native import native
from fastpose.data.denoising.smoothing import noise_variances, smooth_tracks

THREADS = 3


def wave(frames, joints=6, axes=2):
    time, joint = np.arange(frames)[:, None, None] / 30, np.arange(joints)[:, None]
    return 400 + 150 * np.sin(2 * time + joint + np.arange(axes)) + 30 * joint


def noisy(shape_of, deviation, seed=0):
    rng = np.random.default_rng(seed)
    return (shape_of + deviation * rng.standard_normal(shape_of.shape)).astype(np.float32)


def one_track(keypoints, present=None, **options):
    present = np.ones(keypoints.shape[:2], bool) if present is None else present
    return smooth_tracks(keypoints, present, np.array([0, len(keypoints)]), **options)


def rms(difference):
    return np.sqrt((difference.astype(np.float64) ** 2).mean())


@pytest.mark.skipif(native is None, reason="needs the compiled extension")
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=5),
    joints=st.integers(1, 9),
    axes=st.sampled_from([2, 3]),
    deviation=st.sampled_from([0.0, 0.3, 20.0, 1e4]),
    missing=st.sampled_from([0.0, 0.2, 0.9]),
    remainder=st.booleans(),
    seed=st.integers(0, 99),
)
def test_native_smoothing_is_the_reference(lengths, joints, axes, deviation, missing, remainder, seed):
    rng = np.random.default_rng(seed)
    begins = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    walk = np.cumsum(rng.standard_normal((begins[-1], joints, axes)), axis=0)
    keypoints = noisy(walk, deviation, seed)
    present = rng.random(keypoints.shape[:2]) >= missing
    found = native.smooth_tracks(keypoints, present, begins, remainder, THREADS)
    expected = smooth_tracks(keypoints, present, begins, remainder)
    # Sums in another order could turn a choice between two equal risks; none is that close here.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * (1 + deviation))
    assert np.array_equal(found[~present], keypoints[~present])
    assert np.array_equal(found, native.smooth_tracks(keypoints, present, begins, remainder, 1))


@pytest.mark.parametrize("deviation", [3.0, 60.0])
def test_the_noise_of_a_track_is_told_by_it(deviation):
    keypoints = noisy(wave(3000), deviation)
    present = np.ones(keypoints.shape[:2], bool)
    found = noise_variances(keypoints, present) / deviation**2
    assert np.abs(found - 1).max() < 0.05
    keypoints[::7], present[::7] = 1e6, False
    assert np.abs(noise_variances(keypoints, present) / deviation**2 - 1).max() < 0.08


@pytest.mark.parametrize(("deviation", "most"), [(2.0, 0.65), (20.0, 0.4), (100.0, 0.3)])
def test_noise_goes_and_motion_stays(deviation, most):
    truth = wave(80)
    keypoints = noisy(truth, deviation)
    assert rms(one_track(keypoints) - truth) < most * rms(keypoints - truth)


def test_what_has_no_noise_comes_back_as_it_is():
    straight = (np.arange(50)[:, None, None] * np.array([3.0, -2.0]) + np.arange(4)[:, None]).astype(
        np.float32
    )
    assert np.array_equal(one_track(straight), straight)
    still = np.full((30, 4, 3), 7.0, np.float32)
    assert np.array_equal(one_track(still), still)
    assert np.array_equal(one_track(still[:1]), still[:1])
    assert np.array_equal(one_track(still, np.zeros((30, 4), bool)), still)


def test_a_remainder_of_noise_alone_becomes_nothing():
    noise = noisy(np.zeros((60, 5, 2)), 10.0)
    assert rms(one_track(noise, remainder=True)) < 0.1 * rms(one_track(noise))
    signal = noisy(wave(60, 5) - 400, 10.0)
    assert np.array_equal(one_track(signal, remainder=True), one_track(signal))
