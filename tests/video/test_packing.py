"""`fastpose pack video`: classes by folder, names, what is left out, and cut runs that go on."""

import numpy as np
import pytest
from support.videos import SIZE, FakeEstimator, grey_frames, need, write_video

from fastpose.data.sources.keypoint_folder import LabelOptions
from fastpose.settings.video import VideoConfig
from fastpose.video import clips
from fastpose.video.packing import pack_videos

CONFIG = VideoConfig(pose="rtmlib")


@pytest.fixture(autouse=True)
def estimator(monkeypatch):
    """Stands for every estimator."""
    need("av")
    fake = FakeEstimator()
    monkeypatch.setattr(clips, "open_estimator", lambda name, weights, persons: fake)
    return fake


@pytest.fixture
def folder(tmp_path):
    for name, frames in (("walk/a.mp4", 4), ("walk/a.mkv", 5), ("walk/b.mp4", 6), ("run/a.mp4", 7)):
        write_video(tmp_path / "videos" / name, grey_frames(frames))
    return tmp_path / "videos"


def test_a_video_has_the_class_of_its_folder(folder):
    packed, log = pack_videos([folder], CONFIG)
    assert list(packed.names) == ["run/a", "walk/a.mkv", "walk/a.mp4", "walk/b"]
    assert list(packed.class_names) == ["run", "walk"]
    assert packed.labels.tolist() == [0, 1, 1, 1]
    assert packed.num_frames.tolist() == [7, 5, 4, 6]
    assert packed.image_sizes.tolist() == [list(SIZE)] * 4
    assert packed.layout.name == "coco17"
    assert packed.splits["all"].tolist() == [0, 1, 2, 3]
    assert log.num_skipped == 0
    some, _ = pack_videos([folder / "walk" / "b.mp4", str(folder / "ru*" / "*.mp4")], CONFIG)
    assert [(name, some.class_names[label]) for name, label in zip(some.names, some.labels, strict=True)] == [
        ("walk/b", "walk"),
        ("run/a", "run"),
    ]


def test_folders_of_splits(tmp_path):
    for name in ("train/walk/a.mp4", "train/run/a.mp4", "walk/test/b.mp4", "val/run/c.mp4"):
        write_video(tmp_path / name, grey_frames(3))
    packed, _ = pack_videos([tmp_path], CONFIG)
    split_of = {packed.names[i]: split for split, members in packed.splits.items() for i in members}
    assert split_of == {"run/a": "train", "walk/a": "train", "run/c": "val", "walk/b": "test"}
    assert list(packed.class_names) == ["run", "walk"]
    assert {
        name: packed.class_names[label] for name, label in zip(packed.names, packed.labels, strict=True)
    } == {name: name.partition("/")[0] for name in packed.names}


def test_labels_of_a_table_and_clips_held_out(folder, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("clip,label,group\nwalk/a.mp4,go,1\nwalk/b,stay,2\nrun/a,go,1\n")
    (folder / "walk" / "a.mkv").unlink()
    packed, _ = pack_videos([folder], CONFIG, labels=LabelOptions(labels=table, val_fraction=0.5))
    named = {name: packed.class_names[label] for name, label in zip(packed.names, packed.labels, strict=True)}
    assert named == {"run/a": "go", "walk/a": "go", "walk/b": "stay"}
    val = {packed.names[i] for i in packed.splits["val"]}
    assert len({"run/a", "walk/a"} & val) in (0, 2)  # of one group
    assert len(packed.splits["train"]) + len(val) == 3


def test_joints_of_small_scores_are_missing(folder):
    packed, _ = pack_videos([folder / "run"], CONFIG, min_score=0.5)
    assert (packed.scores == np.float32(0.9)).all()
    with pytest.raises(ValueError, match="no clip to pack"):
        pack_videos([folder / "run"], CONFIG, min_score=0.95)


def test_a_link_has_the_class_of_the_folder_that_it_lies_in(folder, tmp_path):
    (tmp_path / "links" / "jump").mkdir(parents=True)
    (tmp_path / "links" / "jump" / "x.mp4").symlink_to(folder / "run" / "a.mp4")
    packed, _ = pack_videos([tmp_path / "links"], CONFIG)
    assert (list(packed.names), list(packed.class_names)) == (["jump/x"], ["jump"])


def test_other_joints(folder):
    own, _ = pack_videos([folder], CONFIG)
    packed, _ = pack_videos([folder], CONFIG, convert_to="penn13")
    assert packed.layout.name == "penn13"
    for side in ("left", "right"):
        ours, theirs = (
            next(i for i, name in enumerate(p.layout.joints) if side in name and "ankle" in name)
            for p in (own, packed)
        )
        np.testing.assert_allclose(packed.keypoints[:, theirs], own.keypoints[:, ours], atol=1e-4)


def test_bad_videos_are_named_and_left_out(folder):
    (folder / "walk" / "c.mp4").write_bytes(b"")
    packed, log = pack_videos([folder, "nowhere*.mp4"], CONFIG)
    assert packed.num_clips == 4
    assert log.num_skipped == 2
    (skipped,) = log.skipped["cannot be read"]
    assert skipped == ("c.mp4", f"{folder / 'walk' / 'c.mp4'}: the file is empty")
    assert log.unexpected == 2
    with pytest.raises(ValueError, match="the file is empty"):
        pack_videos([folder], CONFIG, on_error="raise")


def test_a_cut_run_goes_on(folder, tmp_path, estimator, monkeypatch):
    config = VideoConfig(pose="rtmlib", keypoints_folder=tmp_path / "keypoints")
    estimate = estimator.estimate

    def stopped(frame, seconds):
        if estimator.starts == 3:
            raise KeyboardInterrupt
        return estimate(frame, seconds)

    monkeypatch.setattr(estimator, "estimate", stopped)
    with pytest.raises(KeyboardInterrupt):
        pack_videos([folder], config)
    assert len(list((tmp_path / "keypoints").rglob("*.npz"))) == 2
    assert [path for path in (tmp_path / "keypoints").rglob("*") if "partial" in path.name] == []
    monkeypatch.setattr(estimator, "estimate", estimate)
    packed, log = pack_videos([folder], config)
    assert "keypoints of 2 videos were those saved before" in log.notes
    assert estimator.starts == 5
    whole, _ = pack_videos([folder], CONFIG)
    np.testing.assert_array_equal(packed.keypoints, whole.keypoints)
    assert list(packed.names) == list(whole.names)


def test_nothing_to_pack(tmp_path):
    with pytest.raises(ValueError, match=r"no video \(\.mp4, \.avi, \.mov, \.mkv, \.webm\) in "):
        pack_videos([tmp_path], CONFIG)
    with pytest.raises(ValueError, match="give --pose mediapipe or --pose rtmlib"):
        pack_videos([tmp_path], VideoConfig())
