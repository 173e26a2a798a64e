"""The files of pose estimators: one clip of two persons, written in each form, comes back as it was."""

import json

import numpy as np
import pytest
from support.prediction import moving_clip
from support.shared import shared_folder

from fastpose.data import PackedClips, PoseClip, get_layout
from fastpose.data.sources.clip_files import find_files, read_clips
from fastpose.data.sources.found_files import Problem, ReadOptions
from fastpose.settings.keypoints import KeypointOptions

SIZE = (480, 640)
FRAMES, EMPTY = 20, 7  # nobody is seen in frame 7


def persons(joints, seed=0):
    """Two persons apart, [2, 20, V, 2], scores [2, 20, V]; all of frame 7 and one joint are missing."""
    rng = np.random.default_rng(seed)
    pose = rng.normal(0, 25, (2, 1, joints, 2)) + np.array([[150, 240], [450, 240]])[:, None, None]
    keypoints = (pose + rng.normal(0, 1, (2, FRAMES, joints, 2)).cumsum(1)).round(2)
    scores = rng.uniform(0.3, 1, keypoints.shape[:3]).round(3)
    keypoints[0, 3, 2], scores[0, 3, 2] = 0, 0
    return keypoints, scores


def rows_of(joints, **extra):
    """Rows (frame, flat x, y, score, person) of everyone but in the empty frame, in changing order."""
    keypoints, scores = persons(joints)
    flat = np.concatenate([keypoints, scores[..., None]], -1).reshape(2, FRAMES, -1)
    return [
        (frame, flat[person, frame].tolist(), person)
        for frame in range(FRAMES)
        if frame != EMPTY
        for person in ((0, 1) if frame % 2 else (1, 0))
    ]


def read(*paths, **options):
    files, problems = find_files(paths)
    groups, texts = [], list(map(str, problems))
    for item in read_clips(files, ReadOptions(**options)):
        texts.append(str(item)) if isinstance(item, Problem) else groups.append(item)
    return groups, texts


def check(groups, problems, joints, layout, unit=1.0):
    assert problems == []
    ((group,), (name,)) = groups, groups[0].packed.names
    clip = group.packed.clip(0)
    assert group.packed.layout.name == layout
    assert clip.image_size == SIZE
    keypoints, scores = persons(joints)
    assert clip.keypoints.shape == keypoints.shape
    order = [0, 1] if abs(clip.keypoints[0, 0, 0, 0] - keypoints[0, 0, 0, 0]) < 1 else [1, 0]
    seen = np.arange(FRAMES) != EMPTY
    np.testing.assert_allclose(clip.keypoints[order][:, seen], keypoints[:, seen], atol=2e-3 * unit)
    np.testing.assert_allclose(clip.scores[order][:, seen], scores[:, seen], atol=1e-6)
    return name, group


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(("joints", "layout"), [(25, "body25"), (18, "openpose18")])
def test_openpose_folders_are_clips(tmp_path, joints, layout):
    frames = {frame: [] for frame in range(FRAMES)}
    for frame, flat, _ in rows_of(joints):
        frames[frame].append({"person_id": [-1], "pose_keypoints_2d": flat, "face_keypoints_2d": []})
    for frame, people in frames.items():
        content = {"version": 1.3, "people": people}
        write(tmp_path / "walk" / f"cam_{frame:012d}_keypoints.json", content)
        write(tmp_path / "walk" / f"other_{frame:012d}_keypoints.json", content)
    groups, problems = read(tmp_path, image_size=SIZE)
    (group,) = groups
    assert group.packed.names == ["cam", "other"]
    check(
        [type(group)(group.packed.subset([0]), group.files[:1], group.first_frames[:1])],
        problems,
        joints,
        layout,
    )
    assert group.notes[f"{joints} joints taken for {layout}, as usual in such files"] == 2
    assert group.files[0].endswith("walk/cam")
    _, (problem, _) = read(tmp_path)
    assert "give --image-size H W" in problem


@pytest.mark.parametrize(("joints", "layout"), [(17, "coco17"), (26, "halpe26"), (136, "halpe136")])
@pytest.mark.parametrize("tracked", [True, False])
def test_alphapose(tmp_path, joints, layout, tracked):
    content = [
        {"image_id": f"{frame}.jpg", "category_id": 1, "keypoints": flat, "score": 2.7}
        | ({"idx": person + 3} if tracked else {})
        for frame, flat, person in rows_of(joints)
    ]
    name, _ = check(*read(write(tmp_path / "a.json", content), image_size=SIZE), joints, layout)
    assert name == "a"


def test_results_of_several_videos_are_several_clips(tmp_path):
    content = [
        {"image_id": f"{video}/{frame:06d}.jpg", "keypoints": flat, "category_id": 1}
        for video in ("v1", "v2")
        for frame, flat, _ in rows_of(17)
    ]
    groups, problems = read(write(tmp_path / "a.json", content), image_size=SIZE)
    assert problems == []
    assert groups[0].packed.names == ["v1", "v2"]


def test_coco_annotations_have_flags_and_sizes(tmp_path):
    size = {"height": 480, "width": 640}
    images = [{"id": 100 + frame, "file_name": f"{frame:05d}.jpg", **size} for frame in range(FRAMES)]
    annotations = []
    for frame, flat, _ in rows_of(17):
        flags = [value if i % 3 < 2 else (0 if value == 0 else 1 + i % 2) for i, value in enumerate(flat)]
        annotations.append({"image_id": 100 + frame, "keypoints": flags, "category_id": 1})
    names = list(get_layout("coco17").joints)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "keypoints": names}]}
    (group,), problems = read(write(tmp_path / "a.json", content))
    assert problems == []
    assert group.packed.layout == get_layout("coco17")
    assert group.packed.image_sizes.tolist() == [[480, 640]]
    assert set(np.unique(group.packed.scores)) == {0, 1}
    assert any("visibility flags" in note for note in group.notes)
    assert group.packed.scores.reshape(2, FRAMES, 17)[:, EMPTY].any()  # filled in between


def test_mmpose_demo_names_its_joints_and_the_inferencer_does_not(tmp_path):
    keypoints, scores = persons(17)
    frames = [
        [
            {
                "keypoints": keypoints[m, t].tolist(),
                "keypoint_scores": scores[m, t].tolist(),
                "bbox": [[0, 0, 9, 9]],
            }
            for m in (0, 1)
            if t != EMPTY
        ]
        for t in range(FRAMES)
    ]
    demo = {
        "meta_info": {"dataset_name": "coco"},
        "instance_info": [{"frame_id": t + 1, "instances": frame} for t, frame in enumerate(frames)],
    }
    check(*read(write(tmp_path / "demo.json", demo), image_size=SIZE), 17, "coco17")
    demo["meta_info"] = {"keypoint_id2name": {str(i): n for i, n in enumerate(get_layout("coco17").joints)}}
    check(*read(write(tmp_path / "demo.json", demo), image_size=SIZE), 17, "coco17")
    path = write(tmp_path / "inferencer.json", frames)
    check(*read(path, image_size=SIZE, layout=get_layout("h36m17")), 17, "h36m17")
    _, (problem,) = read(path, image_size=SIZE)
    assert "what its joints are is not said; give --layout" in problem


@pytest.mark.parametrize("together", [True, False])
def test_ultralytics_marks_missing_joints_by_their_place(tmp_path, together):
    keypoints, scores = persons(17)
    scores[0, 3, 2] = 0.31  # beside (0, 0)
    frames = [
        [
            {"name": "person", "class": 0, "confidence": 0.9, "track_id": m + 1, "box": {},
             "keypoints": {"x": keypoints[m, t, :, 0].tolist(), "y": keypoints[m, t, :, 1].tolist(),
                           "visible": scores[m, t].tolist()}}
            for m in (0, 1) if t != EMPTY
        ] + [{"name": "dog", "class": 16, "confidence": 0.4, "box": {}}]
        for t in range(FRAMES)
    ]  # fmt: skip
    if together:
        write(tmp_path / "clip.json", frames)
    else:
        for t, frame in enumerate(frames):
            if t != EMPTY:
                write(tmp_path / f"clip_{t}.json", frame)
    name, _ = check(*read(tmp_path, image_size=SIZE), 17, "coco17")
    assert name == "clip"


@pytest.mark.parametrize("one_person", [True, False])
def test_mediapipe_is_made_pixels(tmp_path, one_person):
    keypoints, scores = persons(33)
    scores[0, 3, 2], keypoints[0, 3, 2] = 0.5, [-64, 500]  # shares may lie outside the image
    shares = keypoints / [640, 480]

    def landmarks(m, t):
        return [
            {"x": x, "y": y, "z": 0.1, "visibility": score}
            for (x, y), score in zip(shares[m, t].tolist(), scores[m, t].tolist(), strict=True)
        ]

    if one_person:
        content = [None if t == EMPTY else landmarks(0, t) for t in range(FRAMES)]
    else:
        content = [[] if t == EMPTY else [landmarks(m, t) for m in (0, 1)] for t in range(FRAMES)]
    (group,), problems = read(write(tmp_path / "a.json", content), image_size=SIZE)
    assert problems == []
    assert group.packed.layout.name == "mediapipe33"
    clip = group.packed.clip(0)
    assert clip.keypoints.shape == (1 if one_person else 2, FRAMES, 33, 2)
    seen = np.arange(FRAMES) != EMPTY
    first = int(np.abs(clip.keypoints[:, 0, 0, 0] - keypoints[0, 0, 0, 0]).argmin())
    np.testing.assert_allclose(clip.keypoints[first, seen], keypoints[0, seen], atol=2e-3)


def test_kinetics_skeleton(tmp_path):
    keypoints, scores = persons(18)
    content = {
        "data": [
            {
                "frame_index": t + 1,
                "skeleton": [
                    {"pose": (keypoints[m, t] / [640, 480]).ravel().tolist(), "score": scores[m, t].tolist()}
                    for m in (0, 1)
                    if t != EMPTY
                ],
            }
            for t in range(FRAMES)
        ],
        "label": "jumping",
        "label_index": 3,
    }
    check(*read(write(tmp_path / "a.json", content), image_size=SIZE), 18, "openpose18")


def test_ctr_gcn_is_in_metres(tmp_path):
    joints = np.random.default_rng(0).normal(0, 0.4, (3, 10, 2, 25, 3))
    joints[..., 2] += 3
    joints[:, 6:] = 0  # padding
    joints[1:, :, 1] = 0  # one person alone
    x = joints.reshape(3, 10, 150).astype(np.float32)
    labels = np.eye(60)[:3]
    np.savez(tmp_path / "NTU60_CS.npz", x_train=x[:2], y_train=labels[:2], x_test=x[2:], y_test=labels[2:])
    _, problems = read(tmp_path)
    assert len(problems) == 3
    assert all("in metres" in problem and "--project" in problem for problem in problems)
    (group,), problems = read(tmp_path, keypoints=KeypointOptions(project="kinect_v1"))
    assert problems == []
    packed = group.packed
    assert packed.layout.name == "kinect25"
    assert (packed.num_frames.tolist(), packed.num_persons.tolist()) == ([6, 6, 6], [2, 1, 1])
    right, up, ahead = joints[0, 0, 0].T
    expected = np.stack([320 + 525 * right / ahead, 240 - 525 * up / ahead], axis=-1)
    np.testing.assert_allclose(packed.clip(0).keypoints[0, 0], expected, rtol=1e-4)
    joints[..., 2] -= 3 * joints.any(-1)
    moved = joints.reshape(3, 10, 150).astype(np.float32)
    np.savez(tmp_path / "NTU60_CS.npz", x_train=moved, y_train=labels)
    _, problems = read(tmp_path, keypoints=KeypointOptions(project="kinect_v1"))
    assert all("behind the camera" in problem and "--distance" in problem for problem in problems)
    (group,), _ = read(tmp_path, keypoints=KeypointOptions(project="kinect_v1", distance=3))
    np.testing.assert_allclose(group.packed.clip(0).keypoints[0, 0], expected, rtol=1e-3)


def test_real_alphapose_results():
    (group,), problems = read(shared_folder() / "estimators/alphapose-real.json", image_size=(1080, 1920))
    assert problems == []
    assert group.packed.layout.name == "coco17"


def frame_forms():
    keypoints, scores = persons(17)
    joined = np.concatenate([keypoints, scores[..., None]], -1)

    class KeyPoints:
        def __init__(self, t):
            self.xy, self.confidence, self.data = keypoints[:, t], scores[:, t], {}

    nothing = [None, [], (np.empty((0, 17, 2)), np.empty((0, 17))), np.empty((0, 17, 3))]
    yield "arrays", [joined[:, t] for t in range(FRAMES)]
    yield "lists", [joined[:, t].tolist() for t in range(FRAMES)]
    yield "pairs", [(keypoints[:, t], scores[:, t]) for t in range(FRAMES)]
    yield (
        "dicts",
        [{"keypoints": keypoints[:, t], "scores": scores[:, t], "ids": [5, 9]} for t in range(FRAMES)],
    )
    yield "objects", [KeyPoints(t) for t in range(FRAMES)]
    for i, empty in enumerate(nothing):
        yield f"empty {i}", [empty if t == EMPTY else joined[::-1, t] for t in range(FRAMES)]


@pytest.mark.parametrize(
    ("form", "frames"), frame_forms(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_frames_held_in_python(form, frames):
    keypoints, scores = persons(17)
    clip = PoseClip.from_frames(frames, name=form, image_size=SIZE, label=1)
    packed = PackedClips.from_clips([clip], layout="coco17")
    assert packed.num_persons.tolist() == [2]
    got = packed.clip(0)
    order = [0, 1] if abs(got.keypoints[0, 0, 0, 0] - keypoints[0, 0, 0, 0]) < 1 else [1, 0]
    seen = np.arange(FRAMES) != EMPTY
    np.testing.assert_allclose(got.keypoints[order][:, seen], keypoints[:, seen], rtol=1e-5)
    np.testing.assert_allclose(got.scores[order][:, seen], scores[:, seen], rtol=1e-5)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "nobody was detected"),
        ([None, []], "nobody was detected"),
        ([np.ones((1, 17, 4))], r"frame 0: keypoints must be \[N, V, 2\]"),
        ([np.ones((1, 17, 2)), np.ones((1, 16, 2))], "frame 1 has 16 joints, the ones before 17"),
        ([(np.ones((1, 17, 2)), np.ones((1, 16)))], r"frame 0: scores must be \[1, 17\]"),
        (["text"], "frame 0: keypoints"),
    ],
)
def test_frames_that_do_not_fit(frames, message):
    with pytest.raises(ValueError, match=message):
        PoseClip.from_frames(frames, name="a", image_size=SIZE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"image_id": "a.jpg", "keypoints": [1, 2, 1] * 17}], "holds no number of a frame"),
        ([{"image_id": i, "keypoints": [1, 2, 1] * (17 + i)} for i in (0, 1)], "x, y, score of equally many"),
        ([{"image_id": 1, "keypoints": ["a", 2, 1] * 17}], "keypoints"),
        ({"people": [{"pose_keypoints_2d": "text"}]}, "a person without pose_keypoints_2d"),
        ({"people": []}, "nobody was detected in any frame"),
        ({"instance_info": [{"frame_id": 1}]}, "instance_info 0 has no list of instances"),
        ([[{"keypoints": [[1, 2]] * 17, "keypoint_scores": [1] * 16}]], "keypoint_scores of a person must be 17"),
        ({"data": [{"frame_index": 1, "skeleton": [{"score": [1]}]}]}, "a person without pose"),
        ([[{"x": 0.1, "y": 0.2}] * 32 + [{"x": 0.1}]], "a landmark without x or y"),
        ([[{"keypoints": {"x": [1, 2], "y": [1]}}]], "equally long lists|ragged"),
        ({"images": [], "annotations": [{"image_id": 3, "keypoints": [1, 2, 2]}]}, "there is no image 3"),
        ({"keypoints": [[[10**400, 1]] * 17] * 3}, "too large"),
        ({"keypoints": [[[1, 2]] * 17] * 3, "image_size": [9, 9], "name": "\ud800"}, "half a character"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(tmp_path, content, message):
    groups, problems = read(write(tmp_path / "a.json", content), image_size=SIZE, layout=get_layout("coco17"))
    assert groups == []
    (problem,) = problems
    assert message.split("|")[0] in problem or message.split("|")[-1] in problem


def test_own_keypoints_with_empty_frames(tmp_path):
    listed = moving_clip(persons=2).tolist()
    for hole in ([], None, [None] * 17, [[None, None]] * 17):
        listed[0][4] = hole
        listed[1][4] = hole
        content = {"keypoints": listed, "image_size": SIZE, "layout": "coco17"}
        (group,), problems = read(write(tmp_path / "a.json", content))
        assert problems == []
        clip = group.packed.clip(0)
        assert not clip.scores[:, 4].any()
        assert (clip.scores[:, :4] == 1).all()


def test_frames_first_arrays_are_refused_with_the_transpose(tmp_path):
    keypoints, _ = persons(17)
    np.save(tmp_path / "a.npy", keypoints.transpose(1, 0, 2, 3))
    _, (problem,) = read(tmp_path, image_size=SIZE, layout=get_layout("coco17"))
    assert "keypoints [20, 2, 17, 2] are 20 persons in 2 frames" in problem
    assert "keypoints.transpose(1, 0, 2, 3)" in problem


def test_pictures_of_several_sizes_are_no_clip_and_numbered_ones_are_told(tmp_path):
    flat = rows_of(17)[0][1]
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 480, "width": 640} for i in range(4)]
    videos = [{"id": 10 + i, "file_name": f"clip/{i}.jpg", "height": 480, "width": 640} for i in range(4)]
    images[2]["width"] = 500
    rows = [{"image_id": image["id"], "keypoints": flat} for image in images + videos]
    (group,), (problem,) = read(write(tmp_path / "a.json", {"images": images + videos, "annotations": rows}))
    assert "its pictures have 2 sizes: no frames of one video" in problem
    assert group.packed.names == ["clip"]
    results = [{"image_id": 100 * i, "category_id": 1, "keypoints": flat} for i in range(4)]
    (group,), _ = read(write(tmp_path / "b.json", results), image_size=SIZE)
    assert group.notes["pictures taken for the frames of one video, in the order of their numbers"] == 1


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("layout", ["coco17"], "layout must be the name of one"),
        ("keypoint_scores", [[0.01] * 17], "'keypoint_scores' is unknown: is it 'scores'?"),
        ("confidence", [[0.01] * 17], "'confidence' is unknown: is it 'scores'?"),
        ("name", ["a"], "name must be text"),
    ],
)
def test_fields_of_own_files_are_what_they_say(tmp_path, field, value, message):
    content = {"keypoints": [[[50, 60]] * 17], "image_size": SIZE, field: value}
    good = {"keypoints": [[[50, 60]] * 17], "image_size": SIZE}
    write(tmp_path / "good.json", good)
    groups, (problem,) = read(
        write(tmp_path / "a.json", content), tmp_path / "good.json", layout=get_layout("coco17")
    )
    assert message in problem
    assert groups[0].packed.names == ["good"]


@pytest.mark.parametrize(
    "frame",
    [
        [{"keypoints": {"x": None, "y": None}}],
        {"people": [{"person_id": [1e30], "pose_keypoints_2d": [50.0, 60.0, 1.0] * 25}]},
    ],
)
def test_one_odd_frame_never_ends_a_run(tmp_path, frame):
    write(tmp_path / "v_1.json", frame)
    write(tmp_path / "w.json", {"keypoints": [[[50, 60]] * 25], "image_size": SIZE, "layout": "body25"})
    groups, problems = read(tmp_path, image_size=SIZE)
    names = [name for group in groups for name in group.packed.names]
    assert "w" in names
    assert len(names) + len(problems) == 2


def test_named_frames_of_two_videos_are_two_clips(tmp_path):
    person = {"pose_keypoints_2d": [50.0, 60.0, 1.0] * 25}
    content = {f"{video}_{i}.jpg": {"people": [person]} for video in "ab" for i in range(3)}
    (group,), problems = read(write(tmp_path / "a.json", content), image_size=SIZE)
    assert problems == []
    assert (group.packed.names, group.packed.num_frames.tolist()) == (["a", "b"], [3, 3])


def test_bytes_in_an_npz_are_text(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        keypoints=np.full((1, 3, 17, 2), 50.0),
        image_size=SIZE,
        layout=b"coco17",
        name=b"x",
    )
    (group,), _ = read(tmp_path / "a.npz")
    assert (group.packed.names, group.packed.layout.name) == (["x"], "coco17")
