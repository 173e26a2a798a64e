import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpose.data.sources.linking import Detections, Linked, link

JOINTS = 17


def walking(rng, places, speeds, frames, noise=1.0):
    """Persons [M, T, V, 2] of about 250 pixels, who walk from places at speeds, pixels per frame."""
    num = len(places)
    poses = rng.uniform(0, 1, (num, 1, JOINTS, 2)) * [100, 230] + np.array(places)[:, None, None]
    path = np.array(speeds)[:, None, None] * np.arange(frames)[:, None, None]
    return (poses + path + noise * rng.standard_normal((num, frames, JOINTS, 2))).astype(np.float32)


def detections(persons, present=None, order=None, ids=None):
    """Frames of the persons [M, T, V, 2] that are present [M, T], in the order [T, M]."""
    num, num_frames = persons.shape[:2]
    present = np.ones((num, num_frames), bool) if present is None else present
    frames = []
    for frame in range(num_frames):
        listed = np.arange(num) if order is None else order[frame]
        listed = listed[present[listed, frame]]
        frames.append(
            Detections(
                persons[listed, frame],
                np.full((len(listed), JOINTS), 0.5, np.float32),
                None if ids is None else ids[listed],
            )
        )
    return frames


def assert_same(linked: Linked, persons, present=None):
    """The persons are those of [M, T, V, 2], in whatever order."""
    present = np.ones(persons.shape[:2], bool) if present is None else present
    assert len(linked.keypoints) == len(persons)
    expected = np.where(present[..., None, None], persons, 0)
    for person, seen in zip(expected, present, strict=True):
        errors = np.abs(linked.keypoints - person).max(axis=(1, 2, 3))
        np.testing.assert_array_equal(linked.scores[errors.argmin()].any(axis=-1), seen)
        assert errors.min() == 0
    assert len(set(linked.ids.tolist())) == len(persons)


@given(seed=st.integers(0, 10_000), num=st.integers(1, 5), frames=st.integers(1, 30))
def test_persons_apart_are_recovered_from_any_order(seed, num, frames):
    rng = np.random.default_rng(seed)
    places = [(400 * i, 50 * i) for i in range(num)]
    persons = walking(rng, places, rng.uniform(-4, 4, (num, 2)), frames)
    order = np.array([rng.permutation(num) for _ in range(frames)])
    assert_same(link(detections(persons, order=order)), persons)


@given(seed=st.integers(0, 10_000))
def test_order_of_detections_changes_nothing_but_numbers(seed):
    rng = np.random.default_rng(seed)
    num, frames = 4, 25
    persons = walking(rng, rng.uniform(0, 300, (num, 2)), rng.uniform(-9, 9, (num, 2)), frames, noise=6)
    present = rng.random((num, frames)) < 0.8
    present[0] = True
    shuffled = np.array([rng.permutation(num) for _ in range(frames)])
    first, second = (link(detections(persons, present, order)) for order in (None, shuffled))
    as_bytes = [sorted(map(bytes, linked.keypoints)) for linked in (first, second)]
    assert as_bytes[0] == as_bytes[1]
    again = link(detections(persons, present, shuffled))
    np.testing.assert_array_equal(second.keypoints, again.keypoints)
    np.testing.assert_array_equal(second.ids, again.ids)


def test_persons_who_cross_keep_who_they_are():
    rng = np.random.default_rng(1)
    persons = walking(rng, [(0, 100), (400, 110)], [(12, 0), (-12, 0)], 36)
    order = np.array([rng.permutation(2) for _ in range(36)])
    assert_same(link(detections(persons, order=order)), persons)
    # Nor does someone who is hidden while they cross become the other.
    present = np.ones((2, 36), bool)
    present[1, 13:20] = False
    assert_same(link(detections(persons, present, order), max_fill=0), persons, present)


def test_someone_fast_is_one_person():
    rng = np.random.default_rng(2)
    persons = walking(rng, [(0, 0)], [(80, 0)], 12)  # a third of a body's length for each frame
    assert_same(link(detections(persons)), persons)


@pytest.mark.parametrize(("pause", "persons"), [(4, 1), (5, 2)])
def test_a_pause_up_to_the_limit_is_one_person(pause, persons):
    walk = walking(np.random.default_rng(3), [(0, 0)], [(3, 1)], 30)
    present = np.ones((1, 30), bool)
    present[0, 10 : 10 + pause] = False
    linked = link(detections(walk, present), max_pause=4, max_fill=0, share=False)
    assert len(linked.ids) == persons
    both = linked.keypoints.sum(axis=0)
    np.testing.assert_array_equal(both, np.where(present[0, :, None, None], walk[0], 0))


def test_a_short_pause_is_filled_on_a_straight_line_with_the_smaller_score():
    walk = walking(np.random.default_rng(4), [(50, 50)], [(3, 1)], 20)
    frames = detections(walk)
    frames[4].scores[:] = 0.25
    frames[8].scores[0, 3] = 0  # a joint that one end lacks
    empty = Detections(np.zeros((0, JOINTS, 2)), np.zeros((0, JOINTS)))
    frames[5:8] = [empty] * 3
    frames[10:14] = [empty] * 4
    linked = link(frames, max_fill=3)
    share = np.array([1, 2, 3])[:, None, None] / 4
    line = walk[0, 4] + share * (walk[0, 8] - walk[0, 4])
    line[:, 3] = 0
    np.testing.assert_allclose(linked.keypoints[0, 5:8], line, rtol=1e-5)
    np.testing.assert_array_equal(linked.scores[0, 5:8, 3], 0)
    np.testing.assert_array_equal(np.delete(linked.scores[0, 5:8], 3, axis=1), 0.25)
    assert not linked.scores[0, 10:14].any()
    assert not link(frames, max_fill=0).scores[0, 5:8].any()


def test_ids_are_kept_where_all_frames_have_them():
    rng = np.random.default_rng(5)
    persons = walking(rng, [(0, 0), (5, 5)], [(3, 0), (2, 0)], 10)
    order = np.array([rng.permutation(2) for _ in range(10)])
    ids = np.array([17, 4])
    swapped = np.where((np.arange(10) < 5)[:, None, None], persons, persons[::-1])  # a tracker's word counts
    linked = link(detections(swapped, order=order, ids=ids))
    assert sorted(linked.ids.tolist()) == [4, 17]
    for person, name in enumerate(ids.tolist()):
        np.testing.assert_array_equal(linked.keypoints[linked.ids.tolist().index(name)], swapped[person])
    some = detections(persons, order=order, ids=ids)
    some[3] = Detections(some[3].keypoints, some[3].scores)
    assert sorted(link(some).ids.tolist()) == [0, 1]


def test_an_id_twice_in_a_frame_is_kept_once():
    persons = walking(np.random.default_rng(6), [(0, 0), (500, 0)], [(0, 0)] * 2, 5)
    frames = detections(persons, ids=np.array([3, 9]))
    frames[2] = Detections(persons[:, 2], np.array([[0.2] * JOINTS, [0.9] * JOINTS]), np.array([3, 3]))
    linked = link(frames, max_fill=0)
    assert linked.num_repeated == 1
    of_three = linked.keypoints[linked.ids.tolist().index(3)]
    np.testing.assert_array_equal(of_three[2], persons[1, 2])
    assert not linked.scores[linked.ids.tolist().index(9), 2].any()


def test_ids_that_tell_nobody_apart_are_none():
    """AlphaPose says 0 of everyone, if it was not asked to track."""
    rng = np.random.default_rng(12)
    persons = walking(rng, [(0, 0), (500, 0)], [(1, 0), (2, 1)], 20)
    assert_same(link(detections(persons, ids=np.array([0, 0]))), persons)


def test_who_comes_back_shares_a_slot_unless_a_tracker_knows():
    rng = np.random.default_rng(13)
    persons = walking(rng, [(0, 0), (500, 0)], [(0, 0), (1, 1)], 40)
    present = np.ones((2, 40), bool)
    present[0, 10:30] = False  # longer than a pause
    linked = link(detections(persons, present))
    assert_same(linked, persons, present)
    assert linked.ids.tolist() == [1, 0]
    apart = link(detections(persons, present), share=False)
    assert apart.ids.tolist() == [1, 0, 2]
    third = detections(persons, present, ids=np.array([5, 6]))
    for frame in third[30:]:
        frame.ids[frame.ids == 5] = 7
    assert sorted(link(third).ids.tolist()) == [5, 6, 7]
    assert_same(link(third, share=True), persons, present)


def test_a_person_detected_twice_is_one():
    rng = np.random.default_rng(7)
    persons = walking(rng, [(0, 0), (500, 0)], [(1, 0), (2, 1)], 20)
    frames = detections(persons)
    twice = np.concatenate([persons[:1, 0] + 2, persons[:, 0]])
    scores = np.array([[0.4], [0.5], [0.5]]).repeat(JOINTS, axis=1)
    frames[0] = Detections(twice, scores)
    again = np.concatenate([persons[:, 7], persons[:1, 7] + 4])
    frames[7] = Detections(again, np.ones((3, JOINTS)))
    linked = link(frames)
    assert linked.num_repeated == 2
    assert_same(linked, persons)


def test_joints_that_a_detection_lacks_stay_missing():
    rng = np.random.default_rng(8)
    persons = walking(rng, [(0, 0), (600, 0)], [(2, 0), (0, 2)], 20)
    frames = detections(persons, order=np.array([rng.permutation(2) for _ in range(20)]))
    missing = []
    for frame in frames:
        gone = rng.random((2, JOINTS)) < 0.4
        frame.keypoints[gone] = rng.choice(
            [np.nan, np.inf, 0, -1]
        )  # marks, whatever score stands beside them
        missing.append(gone.sum())
    linked = link(frames)
    assert len(linked.ids) == 2
    assert np.isfinite(linked.keypoints).all()
    np.testing.assert_array_equal((linked.scores == 0).sum(axis=(0, 2)), missing)


def test_frames_without_persons_and_without_joints():
    empty = Detections(np.zeros((0, JOINTS, 2)))
    linked = link([empty] * 3)
    assert linked.keypoints.shape == (0, 3, JOINTS, 2)
    assert linked.scores.shape == (0, 3, JOINTS)
    nothing = Detections(np.full((2, JOINTS, 2), np.nan))
    person = walking(np.random.default_rng(9), [(9, 9)], [(0, 0)], 2)
    linked = link([empty, Detections(person[:, 0]), nothing, Detections(person[:, 1])], max_fill=0)
    assert linked.scores.any(axis=-1).tolist() == [[False, True, False, True]]
    np.testing.assert_array_equal(linked.scores[linked.scores > 0], 1)


def test_of_many_persons_those_who_matter_are_kept():
    rng = np.random.default_rng(10)
    persons = walking(rng, [(400 * i, 0) for i in range(5)], [(0, 0), (5, 5), (0, 0), (9, 9), (0, 0)], 30)
    present = np.ones((5, 30), bool)
    present[1, 20:] = False  # leaves, and person 2 comes
    present[2, :20] = False
    linked = link(detections(persons, present), max_persons=2)
    assert linked.keypoints.shape[0] == 2
    assert linked.ids.tolist() == [2, 1]  # numbers in order of appearance, of persons 0, 1, 3, 4 and 2
    np.testing.assert_array_equal(linked.keypoints[0], persons[3])
    np.testing.assert_array_equal(linked.keypoints[1, :20], persons[1, :20])
    np.testing.assert_array_equal(linked.keypoints[1, 20:], persons[2, 20:])
    assert linked.num_left_out == 2


@pytest.mark.parametrize(
    ("frames", "told"),
    [
        ([], "no frame"),
        (
            [Detections(np.zeros((1, 17, 2))), Detections(np.zeros((2, 17, 3)))],
            r"frame 1: keypoints must be \[N, 17, 2\]",
        ),
        ([Detections(np.zeros((1, 17, 2)), np.zeros((1, 16)))], r"frame 0: scores must be \[1, 17\]"),
        ([Detections(np.zeros((1, 17, 2)), None, np.zeros(2, np.int64))], r"frame 0: ids must be \[1\]"),
        (
            [Detections(np.ones((1, 17, 2)), np.ones((1, 17))), Detections(np.ones((1, 17, 2)))],
            "for all frames",
        ),
    ],
)
def test_frames_that_do_not_fit_are_told(frames, told):
    with pytest.raises(ValueError, match=told):
        link(frames)


@given(seed=st.integers(0, 1000), gaps=st.sets(st.integers(1, 38)), speed=st.floats(0, 8))
def test_a_lone_person_is_told_at_once_as_by_following(seed, gaps, speed):
    rng = np.random.default_rng(seed)
    pose = rng.normal([400, 300], 60, (17, 2))
    frames = [
        Detections(np.zeros((0, 17, 2)), np.zeros((0, 17)))
        if t in gaps
        else Detections(pose[None] + speed * t + rng.normal(0, 1, (1, 17, 2)), np.ones((1, 17)))
        for t in range(40)
    ]
    lone = link(frames)
    stranger = Detections(np.concatenate([frames[0].keypoints, pose[None] + 5000]), np.ones((2, 17)))
    followed = link([stranger, *frames[1:]])
    np.testing.assert_array_equal(lone.keypoints[0], followed.keypoints[0])
    np.testing.assert_array_equal(lone.scores[0], followed.scores[0])
