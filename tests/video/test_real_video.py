"""A real video through MediaPipe: found, linked, saved, classified, drawn and packed; without a network."""

import csv
import json

import numpy as np
import pytest
from support.prediction import CLASSES, write_run
from support.shared import shared_folder
from support.videos import grey_frames, need, write_video

from fastpose._command import load_command
from fastpose.data import PackedClips
from fastpose.video.estimators import open_estimator
from fastpose.video.frames import read_frames

NUM_FRAMES = 72


@pytest.fixture(scope="module")
def video():
    need("av", "mediapipe")
    return shared_folder() / "video" / "demo_skeleton.mp4"


@pytest.fixture(scope="module")
def pose(video):
    return ["--pose", "mediapipe", "--pose-weights", str(video.parent / "pose_landmarker_full.task")]


@pytest.fixture(scope="module")
def done(video, pose, tmp_path_factory):
    """What `fastpose predict` of the video and of broken ones beside it leaves: exit status and folder."""
    folder = tmp_path_factory.mktemp("predicted")
    bad = folder / "bad"
    bad.mkdir()
    (bad / "empty.mp4").write_bytes(b"")
    (bad / "cut.mp4").write_bytes(video.read_bytes()[:300_000])
    (bad / "text.mp4").write_text("no video")
    videos = [bad / "empty.mp4", bad / "cut.mp4", video, bad / "text.mp4"]
    outputs = [
        "--out",
        folder / "out.csv",
        "--draw",
        folder / "drawn",
        "--keypoints-folder",
        folder / "keypoints",
    ]
    run = write_run(folder / "run", layout="coco17")
    status = load_command("predict").main([*map(str, [run, *videos]), *pose, *map(str, outputs)])
    return status, folder


def test_the_video_is_classified_and_broken_ones_are_named(done, video):
    status, folder = done
    assert status == 1
    with open(folder / "out.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["file"], row["clip"]) == (str(video), "demo_skeleton")
    assert (int(row["first_frame"]), int(row["last_frame"])) == (0, NUM_FRAMES - 1)
    assert row["name_1"] in CLASSES
    scores = [float(row[f"score_{rank}"]) for rank in range(1, 5)]
    assert sum(scores) == pytest.approx(1, abs=1e-4)


def test_persons_are_found_in_nearly_all_frames(done, video):
    _, folder = done
    with np.load(folder / "keypoints" / "video" / "demo_skeleton.mp4.keypoints.npz") as saved:
        keypoints, scores = saved["keypoints"], saved["scores"]
        assert str(saved["layout"]) == "mediapipe33"
        assert saved["image_size"].tolist() == [1080, 1920]
    assert keypoints.shape[1:] == (NUM_FRAMES, 33, 2)
    found = (scores > 0).sum(axis=2) > 16  # [M, T]
    assert found.any(axis=0).mean() >= 0.9
    main = found.sum(axis=1).argmax()
    # Two people face each other, hardly moving: from frame to frame nobody's hips and shoulders jump by much.
    trunk = keypoints[main][:, [11, 12, 23, 24]].mean(axis=1)
    followed = found[main][1:] & found[main][:-1]
    steps = np.hypot(*np.diff(trunk, axis=0).T)[followed]
    assert np.quantile(steps, 0.9) < 30
    # Heads above hips above feet, on people some 600 pixels high.
    nose, hips, ankles = (
        keypoints[main][found[main]][:, joints, 1].mean(axis=1) for joints in ([0], [23, 24], [27, 28])
    )
    assert (nose < hips).all()
    assert (hips < ankles).all()
    assert 400 < np.median(ankles - nose) < 800
    assert 700 < np.median(keypoints[main][found[main]][..., 0]) < 1200


def test_the_drawn_video_has_the_same_frames(done, video):
    _, folder = done
    drawn = list(read_frames(folder / "drawn" / "demo_skeleton.mp4"))
    assert len(drawn) == NUM_FRAMES
    for number, frame in enumerate(read_frames(video)):
        assert drawn[number].image.shape == frame.image.shape
        assert drawn[number].seconds == pytest.approx(frame.seconds, abs=1e-3)
        if number % 24 == 0:
            difference = np.abs(drawn[number].image.astype(int) - frame.image).mean(axis=2)
            assert difference[:, 1300:].mean() < 3  # nobody is there
            assert difference[200:950, 650:1150].mean() > 8  # skeletons
            assert difference[:90, :500].mean() > 8  # the class


def test_saved_keypoints_spare_the_estimator(done, video, pose, monkeypatch, capsys):
    """Also for `fastpose pack video`, which takes the folder's name as the class."""
    _, folder = done
    monkeypatch.setattr("fastpose.video.clips.open_estimator", None)
    out = folder / "pack.safetensors"
    given = [
        str(video),
        "--out",
        str(out),
        *pose,
        "--keypoints-folder",
        str(folder / "keypoints"),
        "--convert-to",
        "penn13",
    ]
    assert load_command("pack").main(["video", *given]) == 0
    assert "keypoints of 1 videos were those saved before" in capsys.readouterr().out
    packed = PackedClips.load(out)
    assert (list(packed.names), list(packed.class_names)) == (["video/demo_skeleton"], ["video"])
    assert (packed.layout.name, packed.num_frames.tolist()) == ("penn13", [NUM_FRAMES])
    assert packed.splits["all"].tolist() == [0]
    with np.load(folder / "keypoints" / "video" / "demo_skeleton.mp4.keypoints.npz") as saved:
        wrists = saved["keypoints"][:, :, [15, 16]]  # left, right
    rows = packed.keypoints.reshape(-1, NUM_FRAMES, 13, 2)
    joints = packed.layout.joints
    mine = [
        next(i for i, name in enumerate(joints) if "wrist" in name and side in name)
        for side in ("left", "right")
    ]
    np.testing.assert_allclose(rows[:, :, mine], wrists, atol=1e-3)


def test_nothing_is_written_beside_the_words_of_fastpose(video, pose, tmp_path, capfd):
    """MediaPipe's native code writes many lines to the error stream; nobody is in these frames."""
    path = write_video(tmp_path / "grey.mp4", grey_frames(3))
    run = write_run(tmp_path / "run")
    assert load_command("predict").main([str(run), str(path), *pose, "--out", str(tmp_path / "o.json")]) == 1
    assert capfd.readouterr().err == f"error: {path}: nobody was found in any of its 3 frames\n"
    assert json.loads((tmp_path / "o.json").read_text())["clips"] == []


def test_weights_that_mediapipe_cannot_load(video, tmp_path):
    bad = tmp_path / "pose.task"
    bad.write_text("no model")
    for weights, said in [
        (None, "mediapipe comes without weights: give --pose-weights"),
        (str(tmp_path / "none.task"), "none.task: no such file of pose weights"),
        (str(bad), "pose.task: not a pose landmarker that mediapipe can load: "),
    ]:
        with pytest.raises(ValueError) as error:
            open_estimator("mediapipe", weights, 2)
        assert said in str(error.value)
        assert "\n" not in str(error.value)
