import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.optimize import linear_sum_assignment

from fastpose.data.pack.persons import (
    MAX_PAUSE,
    Poses,
    assign,
    choose_persons,
    match_slots,
    rank_persons,
    share_slots,
    similarity,
)

JOINTS = 17


def standing(rng, *places, frames=40, noise=1.0):
    """Persons [M, T, V, 2] who stand at places, each of a pose of its own, about 250 pixels large."""
    poses = rng.uniform(0, 1, (len(places), 1, JOINTS, 2)) * [100, 230] + np.array(places)[:, None, None]
    return (poses + noise * rng.standard_normal((len(places), frames, JOINTS, 2))).astype(np.float32)


def scores_of(keypoints):
    return np.ones(keypoints.shape[:3], np.float32)


def match(keypoints, scores):
    return match_slots(keypoints, scores, scores > 0)


def poses_of(keypoints, seen=None):
    keypoints = np.array(keypoints, np.float32)
    return Poses.of(keypoints, np.ones(keypoints.shape[:2]) if seen is None else np.array(seen))


def test_similarity_of_whole_bodies_is_that_of_their_joints():
    rng = np.random.default_rng(0)
    pose = rng.uniform(0, 1, (JOINTS, 2)) * [60, 80]
    pose[0], pose[1] = (0, 0), (60, 80)  # a diagonal of 100 pixels: 10 are one tolerance
    a = poses_of([pose])
    b = poses_of([pose + np.array(step) for step in ([0, 0], [10, 0], [0, 30], [5000, 0])])
    np.testing.assert_allclose(similarity(a, b)[0], [1, 1 / 2, 1 / 10, 0], atol=1e-4)
    np.testing.assert_allclose(similarity(b, b), similarity(b, b).T, atol=1e-6)


def test_similarity_of_parts_is_joints_by_their_share_and_boxes_for_the_rest():
    pose = np.array([[0, 0], [60, 80], [60, 0], [0, 80]])
    whole = poses_of([pose])
    parts = poses_of([pose] * 3, [[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])
    # Two of four joints are there, and equal: 1/2. Boxes: the whole one, one without area, none.
    np.testing.assert_allclose(similarity(whole, parts)[0], [1 / 2 + 1 / 2, 1 / 2, 0], atol=1e-6)
    # No common joint: boxes alone.
    np.testing.assert_allclose(similarity(parts[:1], poses_of([pose], [[0, 0, 1, 1]])), [[1]], atol=1e-6)


@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=4), elements=st.floats(-1e3, 1e3)))
def test_pairs_are_those_of_least_cost(cost):
    rows, columns = assign(cost)
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == min(cost.shape)
    assert rows.tolist() == sorted(rows.tolist())
    assert cost[rows, columns].sum() == pytest.approx(cost[linear_sum_assignment(cost)].sum(), abs=1e-9)


def test_who_moves_comes_before_who_sits_and_both_before_who_is_rarely_there():
    rng = np.random.default_rng(1)
    keypoints = standing(rng, (0, 0), (400, 0), (800, 0), (1200, 0))
    keypoints[1] += np.linspace(0, 200, 40)[:, None, None]
    keypoints[2] += np.linspace(0, 900, 40)[:, None, None]
    scores = scores_of(keypoints)
    scores[2, 12:] = 0  # fewer than half as many joints
    scores[3, 15:] = 0
    flat = keypoints.reshape(-1, JOINTS, 2), scores.reshape(-1, JOINTS)
    assert rank_persons(*flat, np.arange(4) * 40).tolist() == [1, 0, 3, 2]


def test_still_persons_stay_in_order():
    keypoints = standing(np.random.default_rng(2), *((300.1 * i, 77.7) for i in range(6)), noise=0)
    flat = keypoints.reshape(-1, JOINTS, 2), scores_of(keypoints).reshape(-1, JOINTS)
    assert rank_persons(*flat, np.arange(6) * 40).tolist() == list(range(6))


def test_slots_are_shared_by_those_never_seen_together():
    present = np.zeros((4, 10), bool)
    present[0, :5] = present[1, 4:] = present[2, 5:] = present[3, :] = True
    assert share_slots(present, np.arange(4), 2).tolist() == [0, 1, 0, -1]
    assert share_slots(present, np.array([3, 2, 1, 0]), 2).tolist() == [1, -1, 1, 0]


def test_chosen_persons_are_those_who_move():
    rng = np.random.default_rng(3)
    keypoints = standing(rng, (0, 0), (400, 0), (800, 0))
    keypoints[2] += np.linspace(0, 100, 40)[:, None, None]
    scores = scores_of(keypoints)
    scores[0, 30:] = 0
    keypoints[1, :30], scores[1, :30] = 0, 0  # comes when person 0 has left
    chosen = choose_persons(keypoints, scores, 2)
    np.testing.assert_array_equal(chosen, [[2] * 40, [0] * 30 + [1] * 10])
    assert choose_persons(keypoints, scores, 1).tolist() == [[2] * 40]
    scores[2, :] = 0
    assert choose_persons(keypoints, scores, 2).tolist() == [[0] * 30 + [1] * 10]


@given(seed=st.integers(0, 10_000), num=st.integers(2, 4), gap=st.sampled_from([0.0, 0.1, 0.2]))
def test_swapped_slots_become_steady(seed, num, gap):
    rng = np.random.default_rng(seed)
    steady = standing(rng, *((300 * i, 10 * i) for i in range(num)), noise=3)
    frames = np.arange(40)
    order = np.array([rng.permutation(num) for _ in frames])
    order[0] = np.arange(num)
    scores = scores_of(steady) * (rng.random((num, 40, 1)) >= gap).astype(np.float32)
    scores[:, 0] = 1
    steady[scores == 0] = 0
    keypoints, kept, exchanged = match(steady[order.T, frames], scores[order.T, frames])
    # Where a pose lies matters, not where an absent one is put.
    present = scores.any(axis=-1)
    np.testing.assert_array_equal(kept, scores)
    np.testing.assert_array_equal(keypoints[present], steady[present])
    if gap == 0:
        assert exchanged == np.count_nonzero((order != np.arange(num)).any(axis=1))


@given(seed=st.integers(0, 10_000), num=st.integers(1, 4), noise=st.sampled_from([0.0, 3.0, 1000.0]))
def test_steady_slots_are_not_touched(seed, num, noise):
    """Whatever it is that the slots hold: persons who pass each other, and poses of nothing but noise."""
    rng = np.random.default_rng(seed)
    keypoints = standing(rng, *rng.uniform(0, 600, (num, 2)), noise=noise)
    keypoints += (rng.uniform(-20, 20, (num, 1, 1, 2)) * np.arange(40)[:, None, None]).astype(np.float32)
    scores = scores_of(keypoints) * (rng.random((num, 40, JOINTS)) > 0.2)
    kept, kept_scores, exchanged = match(keypoints, scores)
    assert kept is keypoints
    assert kept_scores is scores
    assert exchanged == 0


def test_the_second_person_moves_up_when_the_first_is_missed():
    rng = np.random.default_rng(4)
    steady = standing(rng, (0, 0), (500, 0))
    scores = scores_of(steady)
    scores[0, 10:20] = 0
    listed, listed_scores = steady.copy(), scores.copy()
    listed[0, 10:20], listed_scores[0, 10:20] = steady[1, 10:20], 1
    listed[1, 10:20], listed_scores[1, 10:20] = 0, 0
    keypoints, kept, exchanged = match(listed, listed_scores)
    np.testing.assert_array_equal(kept, scores)
    np.testing.assert_array_equal(keypoints[scores > 0], steady[scores > 0])
    assert exchanged == 10


def test_persons_who_stand_close_change_often_or_not_at_all():
    """A fifth of a body apart: one change of places may be a step of theirs, many are a detector's."""
    rng = np.random.default_rng(11)
    pose = rng.uniform(0, 1, (1, 1, JOINTS, 2)) * [100, 230]
    steady = (pose + np.array([0, 50])[:, None, None, None] * [1, 0]).repeat(40, axis=1).astype(np.float32)
    once, often = steady.copy(), steady.copy()
    once[:, 20:] = steady[::-1, 20:]
    often[:, 1::2] = steady[::-1, 1::2]
    assert match(once, scores_of(once))[2] == 0
    keypoints, _, exchanged = match(often, scores_of(often))
    np.testing.assert_array_equal(keypoints, steady)
    assert exchanged == 20


def test_whole_numbers_without_scores():
    steady = standing(np.random.default_rng(8), (0, 0), (500, 0)).astype(np.int64)
    listed = steady.copy()
    listed[:, 7:9] = steady[::-1, 7:9]
    keypoints, scores, exchanged = match_slots(listed, None, np.ones(steady.shape[:3], bool))
    assert keypoints.dtype == np.int64
    assert scores is None
    np.testing.assert_array_equal(keypoints, steady)
    assert exchanged == 2


def test_a_newcomer_listed_first_becomes_the_second_person():
    steady = standing(np.random.default_rng(5), (0, 0), (500, 0))
    scores = scores_of(steady)
    scores[1, :20] = 0
    listed, listed_scores = steady.copy(), scores.copy()
    listed[:, 20:] = steady[::-1, 20:]
    keypoints, _, exchanged = match(listed, listed_scores)
    np.testing.assert_array_equal(keypoints[scores > 0], steady[scores > 0])
    assert exchanged == 20


def test_missing_joints_that_lie_anywhere_count_nothing():
    steady = standing(np.random.default_rng(7), (0, 0), (500, 0))
    scores = scores_of(steady)
    steady[:, ::3, 2], scores[:, ::3, 2] = 3e38, 0
    steady[:, 1::3, 2], scores[:, 1::3, 2] = -3e38, 0
    listed = steady.copy()
    listed[:, 5] = steady[::-1, 5]
    keypoints, _, exchanged = match(listed, scores)
    np.testing.assert_array_equal(keypoints, steady)
    assert exchanged == 1


@pytest.mark.parametrize("pause", [3, MAX_PAUSE + 1])
def test_a_cut_or_a_long_absence_exchanges_nobody(pause):
    rng = np.random.default_rng(6)
    lone = np.concatenate([standing(rng, (0, 0)), np.zeros((1, 40, JOINTS, 2), np.float32)])
    lone[0, 20:] += 700  # the camera's cut, beside an empty slot
    scores = scores_of(lone)
    scores[1] = 0
    assert match(lone, scores)[2] == 0
    both = standing(rng, (0, 0), (500, 0), frames=60)
    scores = scores_of(both)
    scores[:, 20 : 20 + pause] = 0
    both[:, 20 + pause :] = both[::-1, 20 + pause :]
    assert match(both, scores)[2] == (60 - 20 - pause if pause <= MAX_PAUSE else 0)
