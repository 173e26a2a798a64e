"""The synthetic NTU set: names, bytes, format, geometry, and that its classes differ."""

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpose.data.sources.ntu_names import XSUB60_TRAIN, missing_skeletons, parse_name
from fastpose.data.synthetic import dataset as synthetic
from fastpose.data.synthetic.body import MIRRORED, Build, Pose, mirror, pose_joints, rotation
from fastpose.data.synthetic.dataset import make_synthetic_ntu, plan_clips, skeleton_text
from fastpose.data.synthetic.motion import DISTANCE, MOTIONS, keyframes
from fastpose.data.synthetic.scene import TEST_PERFORMERS, TRAIN_PERFORMERS, BodyTrack, record
from fastpose.data.synthetic.sensor import Camera, hidden_joints, measure

NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d*[1-9])?")
BONES = {
    "abdomen": [(0, 1)],
    "thorax": [(1, 20)],
    "neck": [(20, 2)],
    "head": [(2, 3)],
    "upper_arm": [(4, 5), (8, 9)],
    "forearm": [(5, 6), (9, 10)],
    "hand": [(6, 7), (10, 11)],
    "thigh": [(12, 13), (16, 17)],
    "shank": [(13, 14), (17, 18)],
}


def read(text: str) -> list[list[tuple[list[str], list[list[str]]]]]:
    """A strict reader of the format: per frame, per body, the header and the 25 lines of words."""
    assert text.endswith("\n")
    lines = iter(text[:-1].split("\n"))
    frames = []
    for _ in range(int(next(lines))):
        bodies = []
        for _ in range(int(next(lines))):
            header = next(lines).split(" ")
            assert len(header) == 10
            assert next(lines) == "25"
            joints = [next(lines).split(" ") for _ in range(25)]
            assert {len(words) for words in joints} == {12}
            bodies.append((header, joints))
        frames.append(bodies)
    assert next(lines, None) is None
    return frames


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    """Two training clips and one test clip of each action."""
    return make_synthetic_ntu(tmp_path_factory.mktemp("ntu") / "small", seed=3, num_train=32, num_test=16)


def test_names_and_parts(small_set):
    names = [parse_name(path.stem) for path in small_set.iterdir()]
    assert {path.suffix for path in small_set.iterdir()} == {".skeleton"}
    train = [name for name in names if name.performer in XSUB60_TRAIN]
    test = [name for name in names if name.performer not in XSUB60_TRAIN]
    assert Counter(name.action for name in train) == dict.fromkeys(MOTIONS, 2)
    assert Counter(name.action for name in test) == dict.fromkeys(MOTIONS, 1)
    assert not set(TEST_PERFORMERS) & set(TRAIN_PERFORMERS)


@pytest.mark.parametrize(("performers", "num_clips"), [(TRAIN_PERFORMERS, 28_800), (TEST_PERFORMERS, 28_800)])
def test_the_longest_plan_has_no_name_twice_and_none_that_ntu_misses(performers, num_clips):
    clips = plan_clips(performers, num_clips)
    names = {clip.name for clip in clips}
    assert len(names) == num_clips
    assert not names & set(missing_skeletons())
    assert {clip.performer for clip in clips} == set(performers)
    for name in list(names)[:100]:
        parse_name(name)
    with pytest.raises(ValueError, match="from 0 to 28800"):
        plan_clips(performers, num_clips + 1)


def test_the_default_plan_is_balanced():
    for performers, count in ((TRAIN_PERFORMERS, 640), (TEST_PERFORMERS, 224)):
        clips = plan_clips(performers, count)
        assert set(Counter(clip.action for clip in clips).values()) == {count // 16}
        assert {clip.performer for clip in clips} == set(performers)
        for field in ("camera", "performer"):
            shares = Counter(getattr(clip, field) for clip in clips).values()
            assert max(shares) < 1.5 * min(shares)
    train = plan_clips(TRAIN_PERFORMERS, 640)
    assert Counter(clip.replication for clip in train) == {1: 320, 2: 320}
    assert {clip.setup % 2 for clip in train} == {0, 1}


def test_the_seed_decides_every_byte_and_processes_do_not(small_set, tmp_path):
    again = make_synthetic_ntu(tmp_path / "again", seed=3, num_train=32, num_test=16, processes=2)
    other = make_synthetic_ntu(tmp_path / "other", seed=4, num_train=32, num_test=16)
    for path in small_set.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()
        assert path.read_bytes() != (other / path.name).read_bytes()
    assert len(list(again.iterdir())) == 48


def test_a_clip_does_not_depend_on_how_many_there_are(small_set, tmp_path):
    fewer = make_synthetic_ntu(tmp_path / "fewer", seed=3, num_train=3, num_test=0)
    assert len(list(fewer.iterdir())) == 3
    for path in fewer.iterdir():
        assert path.read_bytes() == (small_set / path.name).read_bytes()


def test_format_and_geometry(small_set):
    for path in small_set.iterdir():
        frames = read(path.read_bytes().decode("ascii"))
        assert 36 <= len(frames) <= 60
        for bodies in frames:
            ids = [header[0] for header, _ in bodies]
            assert len(set(ids)) == len(ids)
            assert all(len(body_id) == 17 for body_id in ids)
            for header, joints in bodies:
                assert 0 <= int(header[1]) < 16
                assert max(abs(float(word)) for word in header[7:9]) <= 1
                assert header[9] == "2"
                for word in (word for words in joints for word in words):
                    assert NUMBER.fullmatch(word), word
                    assert len(word.translate({45: None, 46: None}).lstrip("0")) <= 7
        table = np.array([joints for bodies in frames for _, joints in bodies], float)  # [n, 25, 12]
        x, y, z = np.moveaxis(table[..., :3], -1, 0)
        assert ((z > 0.8) & (z < 8)).all()
        np.testing.assert_allclose(table[..., 3], 256 + 365 * x / z, atol=1e-3)
        np.testing.assert_allclose(table[..., 4], 212 - 365 * y / z, atol=1e-3)
        np.testing.assert_allclose(table[..., 5], 960 + 1060 * x / z, atol=2e-3)
        np.testing.assert_allclose(table[..., 6], 540 - 1060 * y / z, atol=2e-3)
        sizes = np.linalg.norm(table[..., 7:11], axis=-1)
        np.testing.assert_allclose(sizes[:, [3, 15, 19, 21, 22, 23, 24]], 0)
        np.testing.assert_allclose(np.delete(sizes, [3, 15, 19, 21, 22, 23, 24], axis=1), 1, atol=1e-5)
        assert set(np.unique(table[..., 11])) <= {0, 1, 2}
        assert (table[..., 11] == 2).mean() > 0.6


def test_two_people_where_two_act(small_set):
    for path in small_set.iterdir():
        bodies = [len(bodies) for bodies in read(path.read_text())]
        assert np.median(bodies) == (2 if parse_name(path.stem).action in DISTANCE else 1)


def test_the_default_set_has_a_bounded_size(small_set):
    mean = np.mean([path.stat().st_size for path in small_set.iterdir()])
    assert 80e6 < 864 * mean < 160e6


def test_progress_counts_every_clip(tmp_path):
    calls = []
    make_synthetic_ntu(tmp_path / "set", num_train=3, num_test=2, progress=lambda *call: calls.append(call))
    assert calls == [(done, 5) for done in range(1, 6)]


def test_an_interrupted_run_leaves_nothing(tmp_path):
    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_synthetic_ntu(tmp_path / "set", num_train=3, num_test=0, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments_are_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="new or an empty folder"):
        make_synthetic_ntu(tmp_path, num_train=1, num_test=0)
    for bad in ({"seed": -1}, {"num_train": -1}, {"num_test": 28_801}, {"processes": 0}):
        with pytest.raises(ValueError, match="must be"):
            make_synthetic_ntu(tmp_path / "set", **bad)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@given(st.lists(st.floats(-0.999, 0.999), min_size=12, max_size=12))
def test_numbers_are_written_to_their_last_decimal(values):
    scales = np.array([8, 8, 8, 999, 999, 9000, 9000, 1, 1, 1, 1, 2])
    decimals = np.array([6, 6, 6, 4, 4, 3, 3, 6, 6, 6, 6, 0])
    row = np.array(values) * scales
    row[11] = abs(row[11]) // 1
    [[(_, joints)]] = read(skeleton_text(1, [BodyTrack(7, np.array([0]), np.tile(row, (1, 25, 1)))]).decode())
    for words in joints:
        assert all(NUMBER.fullmatch(word) for word in words)
        assert "-0" not in words
        np.testing.assert_array_less(np.abs(np.array(words, float) - row), 0.501 * 10.0**-decimals)


def test_a_track_with_a_gap_keeps_its_frames():
    table = np.ones((2, 25, 12))
    frames = read(skeleton_text(4, [BodyTrack(7, np.array([1, 3]), table)]).decode())
    assert [len(bodies) for bodies in frames] == [0, 1, 0, 1]


def test_disturbances_occur():
    gaps = handovers = spurious = 0
    for clip in plan_clips(TRAIN_PERFORMERS, 320):
        _, tracks = record(clip, 0)
        people = len(MOTIONS[clip.action])
        assert len({track.body_id for track in tracks}) == len(tracks)
        short = [track for track in tracks if len(track.frames) < 11 and (track.table[..., 11] == 1).all()]
        spurious += len(short)
        handovers += len(tracks) - len(short) - people
        gaps += sum((np.diff(track.frames) > 1).any() for track in tracks)
    assert 3 <= spurious <= 50
    assert 2 <= handovers <= 40
    assert 2 <= gaps <= 40


@given(st.integers(0, 2**32 - 1))
def test_bones_keep_their_length(seed):
    rng = np.random.default_rng(seed)
    build, pose = Build.draw(rng), Pose(7)
    for track in (pose.hips, pose.spine, pose.neck, pose.hands, pose.feet, pose.pelvis):
        track += rng.normal(0, 0.4, track.shape)
    joints = pose_joints(build, pose)
    assert np.isfinite(joints).all()
    # What keeping a joint as float32 may move it: half a unit in the last place of each coordinate.
    moved = np.sqrt(3) * 2**-24 * np.abs(joints).max()
    for name, bones in BONES.items():
        for start, stop in bones:
            lengths = np.linalg.norm(joints[:, start] - joints[:, stop], axis=-1)
            np.testing.assert_allclose(lengths, getattr(build, name), rtol=0, atol=2 * moved, err_msg=name)


def test_standing_faces_the_camera_and_reaches_its_targets():
    build, pose = Build.draw(np.random.default_rng(0)), Pose(2)
    pose.hands[1, 1] = (0.1, 0.2, 0.6)
    joints = pose_joints(build, pose)
    assert joints[0, 8, 0] > 0 > joints[0, 4, 0]  # right shoulder at positive x
    assert (joints[0, [15, 19], 2] < joints[0, [14, 18], 2]).all()  # toes before ankles
    np.testing.assert_allclose(joints[0, [14, 18], 1], build.ankle, atol=1e-6)
    np.testing.assert_allclose(joints[1, 10] - joints[1, 8], build.arm * np.array([0.1, 0.2, -0.6]))
    mirrored = mirror(joints)
    np.testing.assert_allclose(mirrored[1, 6] - mirrored[1, 4], build.arm * np.array([-0.1, 0.2, -0.6]))
    np.testing.assert_array_equal(MIRRORED[MIRRORED], np.arange(25))


def test_turns_go_where_they_say():
    bend, turn, tilt = rotation(0.3 * np.eye(3))
    for matrix in (bend, turn, tilt):
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix) > 0
    assert (bend @ [0, 1, 0])[2] < 0  # the head goes forward
    assert (turn @ [0, 0, -1])[0] < 0  # the face goes to the left
    assert (tilt @ [0, 1, 0])[0] < 0  # the head goes to the left


def test_keyframes_pass_through_their_values_and_stay_between():
    times, values = [0.2, 0.5, 0.9], np.array([[0.0, 1.0], [2.0, -1.0], [1.0, 0.0]])
    np.testing.assert_allclose(keyframes(np.array([0, *times, 1]), times, values), values[[0, 0, 1, 2, 2]])
    for (first, last), (a, b) in zip(pairwise(times), pairwise(values), strict=True):
        between = keyframes(np.linspace(first, last, 9), times, values)
        assert (between >= np.minimum(a, b)).all()
        assert (between <= np.maximum(a, b)).all()


@pytest.mark.parametrize("azimuth", [-np.pi / 4, 0, np.pi / 4])
def test_a_camera_looks_at_the_middle_and_keeps_distances(azimuth):
    camera = Camera(azimuth, 3.0, 2.0)
    np.testing.assert_allclose(camera.view(np.array([0, 0.9, 0])), [0, 0, np.hypot(3, 1.1)], atol=1e-12)
    points = np.random.default_rng(0).normal(size=(20, 3))
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    seen = camera.view(points)
    np.testing.assert_allclose(np.linalg.norm(seen[:, None] - seen, axis=-1), distances, atol=1e-12)
    facing = rotation(np.array([[0, azimuth, 0]]))[0] @ [0, 0, -1]
    assert camera.view(facing + np.array([0, 0.9, 0]))[2] < camera.view(np.array([0, 0.9, 0]))[2] - 0.9


def test_hidden_joints_are_inferred_and_less_exact():
    pose = Pose(200)
    pose.hands[:, 0] = (-0.35, -0.6, -0.5)  # behind the back
    joints = Camera(0, 3.0, 0.9).view(pose_joints(Build.draw(np.random.default_rng(1)), pose))
    hidden = hidden_joints(joints, [joints])
    assert hidden[:, 6].all()
    assert not hidden[:, [0, 3, 9, 10, 14, 18]].any()
    measured, state = measure(joints, [joints], np.random.default_rng(0))
    assert (state[:, 6] < 2).mean() > 0.7
    error = (measured - joints).std(0).mean(-1)
    assert error[6] > 2 * error[0]
    assert error[0] < 0.02


def test_classes_differ_more_than_people():
    """The nearest neighbour among the training people is mostly of the same class."""

    def features(performers, count):
        rows, labels = [], []
        for clip in plan_clips(performers, count):
            _, tracks = record(clip, 0)
            tracks = sorted(tracks, key=lambda track: -len(track.frames))
            keypoints = tracks[0].table[..., 5:7]
            picked = keypoints[((np.arange(12) + 0.5) * len(keypoints) / 12).astype(int)]
            low, high = picked.min((0, 1)), picked.max((0, 1))
            rows.append(((picked - (low + high) / 2) / (high - low).max()).ravel())
            labels.append(clip.action)
        return np.array(rows), labels

    train, train_labels = features(TRAIN_PERFORMERS, 480)
    test, test_labels = features(TEST_PERFORMERS, 112)
    nearest = ((test[:, None] - train) ** 2).sum(-1).argmin(1)
    right = (np.array(train_labels)[nearest] == test_labels).mean()
    assert 0.5 < right < 0.95, right


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(synthetic, "_write_clip", fail)
    with pytest.raises(OSError, match="No space"):
        make_synthetic_ntu(tmp_path / "set", num_train=2, num_test=0)
    assert list(tmp_path.iterdir()) == []
