"""Which bodies of a clip become which actor, and the packing of what is chosen."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.shared import shared_folder
from support.skeletons import pack_skeletons, select_bodies

from fastpose.data import Skeleton, SkeletonBody, read_skeleton


def make_body(body_id, frames, motion=1.0, noisy=(), lost=()):
    """A body 0.4 wide and 1 high (2 wide in `noisy` frames) whose x swings by `motion`; depthX is its id."""
    frames = np.array(list(frames), np.int32)
    joints = np.zeros((len(frames), 25, 12), np.float32)
    across = np.linspace(-0.2, 0.2, 25)
    joints[:, :, 0] = across + motion * (-1.0) ** np.arange(len(frames))[:, None]
    joints[:, :, 1] = np.linspace(-0.5, 0.5, 25)
    joints[:, :, 2] = 3
    joints[:, :, 3] = body_id
    joints[:, :, 11] = 2
    joints[np.isin(frames, list(noisy)), :, 0] += across * 4
    joints[np.isin(frames, list(lost)), :5] = 0
    return SkeletonBody(body_id, frames, joints)


def who(bodies, num_frames, max_bodies=2):
    """Body id per actor and frame (0: nobody), and the frames."""
    joints, frames = select_bodies(Skeleton(num_frames, bodies), max_bodies)
    assert joints.dtype == np.float32
    assert frames.dtype == np.int32
    assert joints.shape[1:] == (len(frames), 25, 12)
    for actor in joints:
        for frame, body in zip(frames, actor, strict=True):
            source = [b.joints[list(b.frames).index(frame)] for b in bodies if b.body_id == body[-1, 3]]
            assert np.array_equal(body, source[0]) if source else not body.any()
    return joints[:, :, -1, 3].astype(int).tolist(), frames.tolist()


def test_no_body():
    joints, frames = select_bodies(Skeleton(5, []))
    assert joints.shape == (0, 0, 25, 12)
    assert frames.shape == (0,)
    assert (joints.dtype, frames.dtype) == (np.float32, np.int32)


@pytest.mark.parametrize("max_bodies", [1, 2, 3])
def test_a_lone_body_skips_every_rule(max_bodies):
    body = make_body(1, [3, 4, 8], noisy=range(9))
    assert who([body], 20, max_bodies) == ([[1, 1, 1]], [3, 4, 8])


def test_two_bodies_in_order_of_motion():
    actors, frames = who([make_body(1, range(20), 0.5), make_body(2, range(20), 0.6)], 20)
    assert actors == [[2] * 20, [1] * 20]
    assert frames == list(range(20))
    equal, _ = who([make_body(8, range(20)), make_body(5, range(20))], 20)
    assert equal == [[8] * 20, [5] * 20]  # ties go to the earlier


def test_short_bodies_are_dropped():
    long = make_body(1, range(12))
    assert who([make_body(2, range(11), 9), long], 20) == ([[1] * 12], list(range(12)))
    assert who([make_body(2, range(12), 9), long], 20)[0] == [[2] * 12, [1] * 12]


def test_noisy_bodies_are_dropped_by_their_share_of_noisy_frames():
    quiet = make_body(1, range(20))
    at_most = make_body(2, range(20), 0.5, noisy=range(13))  # 0.65
    too_many = make_body(3, range(20), 0.5, noisy=range(14))  # 0.7
    assert len(who([quiet, at_most], 20)[0]) == 2
    assert who([quiet, too_many], 20) == ([[1] * 20], list(range(20)))


def test_noise_means_wider_than_four_fifths_of_the_height():
    def body(body_id, width):
        made = make_body(body_id, range(20), 0)
        made.joints[:, :, 0] = np.linspace(0, width, 25)
        return made

    still = make_body(1, range(20), 0)
    assert len(who([still, body(2, 0.79)], 20)[0]) == 2
    assert who([still, body(2, 0.81)], 20)[0] == [[1] * 20]


def test_motion_is_the_smaller_of_all_and_of_quiet_frames():
    jumper = make_body(1, range(20), 0.1, noisy=range(10))
    jumper.joints[:10, :, 0] += 50  # only while noisy
    walker = make_body(2, range(20), 0.5)
    assert who([jumper, walker], 20)[0] == [[2] * 20, [1] * 20]


def test_lost_joints_take_no_part():
    lost = range(0, 20, 2)  # zeros at 3 m would count as motion and as width
    far = make_body(1, range(20), 0.1, lost=lost)
    far.joints[:, 5:, 0] += 5
    near = make_body(2, range(20), 0.5)
    assert who([far, near], 20)[0] == [[2] * 20, [1] * 20]


def test_a_body_without_a_single_joint_does_not_move():
    nothing = make_body(1, range(20))
    nothing.joints[:] = 0
    joints, _ = select_bodies(Skeleton(20, [nothing, make_body(2, range(20))]))
    assert joints[0, :, -1, 3].tolist() == [2] * 20
    assert not joints[1].any()


@pytest.mark.parametrize(
    "bodies",
    [
        [make_body(1, range(5)), make_body(2, range(3, 10)), make_body(3, range(10, 17))],
        [make_body(1, range(12), noisy=range(12)), make_body(2, range(14), noisy=range(14))],
        [make_body(1, range(11)), make_body(2, range(14), noisy=range(14))],
    ],
    ids=["all short", "all noisy", "short or noisy"],
)
def test_where_all_fail_the_first_longest_stays(bodies):
    actors, frames = who(bodies, 20)
    assert actors == [[2] * len(frames)]
    assert frames == bodies[1].frames.tolist()


def test_handover_is_one_actor_of_two():
    actors, frames = who([make_body(1, range(15)), make_body(2, range(15, 30), 0.5)], 30)
    assert actors == [[1] * 15 + [2] * 15, [0] * 30]
    assert frames == list(range(30))


def test_partial_overlap_is_a_second_actor():
    actors, frames = who([make_body(1, range(20), 2), make_body(2, range(15, 35))], 40)
    assert actors == [[1] * 20 + [0] * 15, [0] * 15 + [2] * 20]
    assert frames == list(range(35))


def test_a_third_body_fills_the_second_actor_or_is_dropped():
    bodies = [make_body(1, range(40), 3), make_body(2, range(15), 2), make_body(3, range(15, 30))]
    assert who(bodies, 40)[0] == [[1] * 40, [2] * 15 + [3] * 15 + [0] * 10]
    overlapping = [*bodies[:2], make_body(3, range(14, 30))]
    assert who(overlapping, 40)[0] == [[1] * 40, [2] * 15 + [0] * 25]


def test_a_body_that_leaves_and_returns_keeps_its_frames():
    returning = make_body(1, [*range(8), *range(20, 28)], 2)
    actors, frames = who([returning, make_body(2, range(28))], 28)
    assert actors == [[1] * 8 + [0] * 12 + [1] * 8, [2] * 28]
    assert frames == list(range(28))
    between = make_body(3, range(8, 20), 0.5)  # fits into the gap
    assert who([returning, between], 28)[0][0] == [1] * 8 + [3] * 12 + [1] * 8


def test_actors_swap_if_only_the_second_is_there_at_first():
    actors, _ = who([make_body(1, range(5, 25), 2), make_body(2, range(20))], 25)
    assert actors == [[2] * 20 + [0] * 5, [0] * 5 + [1] * 20]
    third = [make_body(1, range(5, 25), 3), make_body(2, range(4, 24), 2), make_body(3, range(20))]
    assert who(third, 25, 3)[0] == [[0] * 5 + [1] * 20, [0] * 4 + [2] * 20 + [0], [3] * 20 + [0] * 5]


def test_frames_without_body_go_and_those_of_dropped_bodies_only_stay_inside():
    dropped = make_body(9, [0, 1, 10, 11, 29])
    kept = make_body(1, [*range(2, 8), *range(12, 20)])
    actors, frames = who([kept, dropped], 40)
    assert frames == [*range(2, 8), 10, 11, *range(12, 20)]
    assert actors == [[1] * 6 + [0] * 2 + [1] * 8]


def test_as_many_actors_as_asked():
    bodies = [make_body(i, range(20), 5 - i) for i in (1, 2, 3, 4)]
    for max_bodies in (1, 2, 3, 4):
        assert who(bodies, 20, max_bodies)[0] == [[i] * 20 for i in range(1, max_bodies + 1)]
    assert who(bodies[:2], 20, 3)[0] == [[1] * 20, [2] * 20, [0] * 20]


def reference_selection(bodies, num_frames, max_bodies):
    """The rules for several bodies once more, on sets of frames, with NumPy."""
    kept = []
    for body in bodies:
        x, y = body.joints[:, :, 0], body.joints[:, :, 1]
        noisy = np.ptp(x, axis=1) > 0.8 * np.ptp(y, axis=1)
        if len(body.frames) > 11 and noisy.mean() < 0.69754:
            points = body.joints[:, :, :3].astype(np.float64)
            motions = [part.reshape(-1, 3).var(axis=0).sum() for part in (points, points[~noisy])]
            kept.append((-min(motions), len(kept), body))
    kept = [body for *_, body in sorted(kept, key=lambda item: item[:2])]
    kept = kept or [max(bodies, key=lambda body: len(body.frames))]
    actors = [{} for _ in range(max_bodies if len(kept) > 1 else 1)]
    for body in kept:
        free = [actor for actor in actors if not actor.keys() & set(body.frames.tolist())]
        if free:
            free[0].update(dict.fromkeys(body.frames.tolist(), body.body_id))
    used = sorted(set().union(*actors))
    seen = sorted(set().union(*(body.frames.tolist() for body in bodies)))
    frames = [frame for frame in seen if used[0] <= frame <= used[-1]]
    if len(actors) > 1 and frames[0] not in actors[0] and frames[0] in actors[1]:
        actors[:2] = actors[1::-1]
    return [[actor.get(frame, 0) for frame in frames] for actor in actors], frames


@st.composite
def tracked_bodies(draw):
    bodies = []
    for body_id in range(1, draw(st.integers(2, 5)) + 1):
        start, length, gap = draw(st.integers(0, 25)), draw(st.integers(1, 30)), draw(st.integers(0, 12))
        half = length // 2
        frames = [*range(start, start + half), *range(start + half + gap, start + length + gap)]
        noisy = draw(st.integers(0, 1)) * draw(st.integers(0, length))
        motion = draw(st.floats(0, 3).map(lambda x: round(x, 2))) + body_id * 1e-3
        bodies.append(make_body(body_id, frames, motion, noisy=frames[:noisy]))
    return bodies


@given(tracked_bodies(), st.integers(1, 3))
def test_agrees_with_the_rules_written_on_sets(bodies, max_bodies):
    assert who(bodies, 70, max_bodies) == reference_selection(bodies, 70, max_bodies)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"max_bodies": 0}, "max_bodies must be at least 1, got 0"),
        ({"num_frames": 19}, "must increase from 0 or more to at most 18"),
        ({"frames": np.arange(20)[::-1]}, "must increase"),
        ({"frames": np.zeros(20, int)}, "must increase"),
        ({"frames": np.arange(-1, 19)}, "must increase"),
        ({"frames": np.zeros(0, int), "joints": np.zeros((0, 25, 12))}, "n >= 1"),
        (
            {"joints": np.zeros((20, 17, 12))},
            r"joints must be \(20, 25, 12\), got joints.shape = \(20, 17, 12\)",
        ),
        ({"joints": np.full((20, 25, 12), np.nan)}, "joints must be finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, reason):
    body = make_body(1, range(20))
    body = SkeletonBody(1, change.get("frames", body.frames), change.get("joints", body.joints))
    with pytest.raises(ValueError, match=reason):
        select_bodies(Skeleton(change.get("num_frames", 20), [body]), change.get("max_bodies", 2))


def oracle_paths():
    return sorted((shared_folder() / "oracles" / "skeleton_files").glob("*.skeleton"))


def test_peer_on_edge_cases():
    compared = 0
    with np.load(shared_folder() / "oracles" / "skeleton_files" / "expected.npz") as expected:
        for path in oracle_paths():
            skeleton = read_skeleton(path)
            joints, frames = select_bodies(skeleton)
            if f"{path.stem}/keypoint_3d" in expected:
                assert np.array_equal(joints[..., :3], expected[f"{path.stem}/keypoint_3d"]), path.stem
                compared += 1
            elif str(expected[f"{path.stem}/why"]) == "all frames empty":
                assert joints.shape == (0, 0, 25, 12)
            else:  # every body too short, where the peer fails: the longest stays
                longest = max(skeleton.bodies, key=lambda body: len(body.frames))
                assert np.array_equal(joints[0], longest.joints)
                assert np.array_equal(frames, longest.frames)
    assert compared == 6


def write_skeleton(path, skeleton):
    lines = [str(skeleton.num_frames)]
    for frame in range(skeleton.num_frames):
        shown = [(b, np.flatnonzero(b.frames == frame)) for b in skeleton.bodies if frame in b.frames]
        lines.append(str(len(shown)))
        for body, (row,) in shown:
            lines += [f"{body.body_id} 0 1 1 1 1 0 0 0 2", "25"]
            lines += [" ".join(f"{field:.9g}" for field in joint) for joint in body.joints[row]]
    path.write_text("\n".join(lines) + "\n")


def test_packing_takes_colour_pixels_and_scores_of_the_selected_bodies(tmp_path):
    rng = np.random.default_rng(0)
    bodies = [make_body(1, range(20), 2), make_body(2, range(5, 25))]
    for body in bodies:
        body.joints[:, :, 5:7] = rng.uniform(0, 1920, body.joints[:, :, 5:7].shape)
        body.joints[:, :, 11] = rng.integers(0, 3, body.joints.shape[:2])
    skeleton = Skeleton(30, bodies)
    paths = [tmp_path / f"{name}.skeleton" for name in ("pair", "empty", "cut", "absent", "lost", "\udcff")]
    for path in (paths[0], paths[5]):
        write_skeleton(path, skeleton)
    write_skeleton(paths[1], Skeleton(3, []))
    paths[2].write_bytes(paths[0].read_bytes()[:5000])
    lost = paths[0].read_text().split("\n")
    lost[4] = lost[4].replace(" 2", " inf", 1)
    paths[4].write_text("\n".join(lost))
    joints, frames = select_bodies(skeleton)
    assert joints.shape[:2] == (2, 25)

    packed = pack_skeletons([str(path) for path in paths], 2, 2)
    assert packed["num_persons"].tolist() == [2, 0, 0, 0, 2, 2]
    assert packed["num_frames"].tolist() == [len(frames), 0, 0, 0, len(frames), len(frames)]
    assert packed["lost_joints"].tolist() == [0, 0, 0, 0, 1, 0]
    assert packed["bytes"] == sum(path.stat().st_size for path in paths if path.exists())
    rows = 2 * len(frames)
    for start in (0, 2 * rows):
        assert np.array_equal(
            packed["keypoints"][start : start + rows], joints[..., 5:7].reshape(rows, 25, 2)
        )
        assert np.array_equal(packed["scores"][start : start + rows], joints[..., 11].reshape(rows, 25) / 2)
    assert packed["keypoints"].shape == (3 * rows, 25, 2)
    assert not packed["keypoints"][rows, 0].any()
    assert packed["scores"][rows, 0] == 0
    assert packed["errors"][0] == packed["errors"][4] == packed["errors"][5] == ""
    assert packed["errors"][1] == f"{paths[1]}: no body in any of its 3 frames"
    assert packed["errors"][2].startswith(f"{paths[2]}: line ")
    assert packed["errors"][3] == f"{paths[3]}: cannot be read: No such file or directory"


def test_packing_does_not_depend_on_threads_or_on_the_other_files(tmp_path):
    rng = np.random.default_rng(1)
    paths = [tmp_path / f"{i}.skeleton" for i in range(23)]
    for i, path in enumerate(paths):
        bodies = [make_body(b + 1, range(b, 3 + int(rng.integers(9, 20))), b) for b in range(i % 4)]
        write_skeleton(path, Skeleton(30, bodies))
    names = [str(path) for path in paths]
    alone = [pack_skeletons([name], 2, 1) for name in names]
    for threads in (1, 2, 5, 0):
        packed = pack_skeletons(names, 2, threads)
        for key in ("keypoints", "scores", "num_persons", "num_frames", "lost_joints"):
            assert np.array_equal(packed[key], np.concatenate([one[key] for one in alone])), key
        assert packed["errors"] == [one["errors"][0] for one in alone]
    nothing = pack_skeletons([], 2, 2)
    assert nothing["keypoints"].shape == (0, 25, 2)
    assert nothing["errors"] == []


def test_what_is_no_file_is_an_error_not_a_hang(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    packed = pack_skeletons([str(tmp_path), str(pipe), "/dev/zero"], 2, 1)
    assert packed["errors"] == [
        f"{p}: cannot be read: not a regular file" for p in (tmp_path, pipe, "/dev/zero")
    ]
