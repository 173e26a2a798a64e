"""Clips of videos: linking, saved keypoints, what cannot be read; and the same drawn."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest
from support.prediction import write_run
from support.videos import SIZE, FakeEstimator, grey_frames, need, write_video

from fastpose.data.sources.clip_files import read_clips
from fastpose.data.sources.found_files import Problem, ReadOptions
from fastpose.prediction.files import predict_files
from fastpose.prediction.predictor import Predictor
from fastpose.settings.video import VideoConfig
from fastpose.system.prefetch import Prefetcher
from fastpose.video import clips
from fastpose.video.clips import VideoReader, find_keypoints
from fastpose.video.drawing import draw_video
from fastpose.video.frames import read_frames


@pytest.fixture(autouse=True)
def _av():
    need("av")


@pytest.fixture
def estimator(monkeypatch):
    """Stands for every estimator."""
    fake = FakeEstimator()
    monkeypatch.setattr(clips, "open_estimator", lambda name, weights, persons: fake)
    return fake


def test_each_frame_is_asked_once_in_order(tmp_path):
    fake = FakeEstimator(lambda frame: 0 if frame == 7 else 1)
    path = write_video(tmp_path / "walk.mp4", grey_frames(8), [0, 4, 8, 12, 30, 31, 40, 44])
    clip = find_keypoints(path, fake, 2)
    assert [round(100 * seconds) for _, seconds in fake.seen] == [0, 4, 8, 12, 30, 31, 40, 44]
    assert [grey for grey, _ in fake.seen] == pytest.approx(range(10, 90, 10), abs=2)
    assert (clip.name, clip.image_size, clip.layout.name) == ("walk", SIZE, "coco17")
    assert clip.keypoints.shape == (1, 8, 17, 2)
    np.testing.assert_allclose(clip.keypoints[0, 3, 0], [4, 5], atol=0.3)  # brightness 40 / 10, and 1 more
    assert (clip.scores[0, :7] == np.float32(0.9)).all()
    assert not clip.scores[0, 7].any()


def test_no_more_persons_than_asked_for(tmp_path):
    path = write_video(tmp_path / "a.mp4", grey_frames(4))
    assert len(find_keypoints(path, FakeEstimator(lambda frame: 3), 2).keypoints) == 2
    with pytest.raises(ValueError, match="nobody was found in any of its 4 frames"):
        find_keypoints(path, FakeEstimator(lambda frame: 0), 2)


def test_saved_keypoints_are_taken_again_and_read_by_every_command(tmp_path, estimator):
    path = write_video(tmp_path / "walk.mp4", grey_frames(8))
    config = VideoConfig(pose="rtmlib", save_keypoints=True)
    first = VideoReader(config).read(path)
    saved = tmp_path / "walk.mp4.keypoints.npz"
    assert {p.name for p in tmp_path.iterdir()} == {"walk.mp4", saved.name}
    again = VideoReader(config)
    clip = again.read(path)
    assert (again.num_reused, estimator.starts) == (1, 1)
    np.testing.assert_array_equal(clip.keypoints, first.keypoints)
    np.testing.assert_array_equal(clip.scores, first.scores)
    assert (clip.name, clip.image_size, clip.layout) == (first.name, first.image_size, first.layout)

    (group,) = read_clips([saved], ReadOptions())
    assert list(group.packed.names) == ["walk"]
    assert group.packed.layout.name == "coco17"
    assert group.packed.image_sizes.tolist() == [list(SIZE)]
    np.testing.assert_array_equal(group.packed.keypoints, first.keypoints[0])


def test_saved_keypoints_of_another_kind_are_made_anew(tmp_path, estimator):
    path = write_video(tmp_path / "walk.mp4", grey_frames(4))
    config = VideoConfig(pose="rtmlib", save_keypoints=True)
    VideoReader(config).read(path)
    VideoReader(VideoConfig(pose="rtmlib", save_keypoints=True, pose_persons=3)).read(path)
    assert estimator.starts == 2
    VideoReader(config).read(path)
    write_video(path, grey_frames(5))  # another video of that name
    assert VideoReader(config).read(path).keypoints.shape[1] == 5
    (tmp_path / "walk.mp4.keypoints.npz").write_bytes(b"damaged")
    assert VideoReader(config).read(path).keypoints.shape[1] == 5
    assert estimator.starts == 5


def test_keypoints_of_one_name_in_two_folders_do_not_mix(tmp_path, estimator):
    one, two = (
        write_video(tmp_path / "videos" / name / "a.mp4", grey_frames(frames))
        for name, frames in (("run", 4), ("walk", 6))
    )
    config = VideoConfig(pose="rtmlib", keypoints_folder=tmp_path / "found")
    for _ in range(2):
        reader = VideoReader(config)
        assert [reader.read(path).keypoints.shape[1] for path in (one, two)] == [4, 6]
    assert (reader.num_reused, estimator.starts) == (2, 2)
    found = sorted(p.relative_to(tmp_path / "found").as_posix() for p in tmp_path.glob("found/*/*"))
    assert found == ["run/a.mp4.keypoints.npz", "walk/a.mp4.keypoints.npz"]


def test_bad_videos_are_problems_and_others_go_on(tmp_path, estimator):
    good = write_video(tmp_path / "a" / "x.mp4", grey_frames(4))
    same_stem = write_video(tmp_path / "b" / "x.mkv", grey_frames(5))
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.webm"
    empty.write_bytes(b"")
    text.write_text("no video")
    paths = [good, empty, text, tmp_path / "none.avi", same_stem]
    items = list(VideoReader(VideoConfig(pose="rtmlib")).read_any(paths, ReadOptions()))
    assert [type(item) is Problem for item in items] == [False, True, True, True, False]
    assert str(items[1]) == f"{empty}: the file is empty"
    assert str(items[3]).endswith("none.avi: no such file")
    assert [items[0].packed.names[0], items[4].packed.names[0]] == [str(good), str(same_stem)]

    (problem,) = VideoReader(VideoConfig()).read_any([good], ReadOptions())
    assert "give --pose mediapipe or --pose rtmlib" in problem.reason


def test_ctrl_c_does_not_wait_for_the_rest_of_a_video(tmp_path, estimator, monkeypatch):
    """The estimator works in a thread, which would otherwise go on to the video's end."""
    path = write_video(tmp_path / "long.mp4", grey_frames(20))
    begun, allowed = threading.Event(), threading.Event()

    def slow(frame, seconds, estimate=estimator.estimate):
        found = estimate(frame, seconds)
        begun.set()
        allowed.wait(10)
        return found

    def interrupted(items):
        begun.wait(10)
        raise KeyboardInterrupt

    def end():
        reader.stopped.set()
        allowed.set()

    monkeypatch.setattr(estimator, "estimate", slow)
    monkeypatch.setattr(Prefetcher, "__next__", interrupted)
    reader = VideoReader(VideoConfig(pose="rtmlib"))
    predictor = Predictor.load(write_run(tmp_path / "run"))
    monkeypatch.setattr(clips, "Prefetcher", iterated)
    with pytest.raises(KeyboardInterrupt):
        predict_files(predictor, [path], ReadOptions(), read=reader.read_any, on_end=end)
    assert len(estimator.seen) == 1


@contextmanager
def iterated(items, depth):
    yield items


@pytest.mark.parametrize(("size", "rotation"), [(SIZE, 0), ((97, 131), 0), (SIZE, 90)])
def test_drawn_frames_keep_times_and_pictures(tmp_path, size, rotation):
    times = [0, 4, 5, 30, 34, 60]
    source = write_video(tmp_path / "a.mp4", [np.full((*size, 3), 120, np.uint8)] * 6, times, rotation)
    clip = find_keypoints(source, FakeEstimator(), 1)
    clip.keypoints[:] = [clip.image_size[1] / 2, clip.image_size[0] - 15]  # all in one place
    target = tmp_path / "drawn.mp4"
    assert draw_video(source, target, clip, lambda frame: "" if frame < 3 else "walk") == 6
    frames = list(read_frames(target))
    height, width = clip.image_size
    assert {frame.image.shape for frame in frames} == {(height + height % 2, width + width % 2, 3)}
    np.testing.assert_allclose([frame.seconds for frame in frames], np.array(times) / 100, atol=1e-3)
    for number, frame in enumerate(frames):
        changed = np.abs(frame.image.astype(int) - 120).max(axis=2) > 25
        assert changed[height - 20 : height - 10, width // 2 - 5 : width // 2 + 5].any()
        assert changed[: height // 2].any() == (number >= 3)  # the text at the top
        assert not changed[: height // 2, -3:].any()
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_a_video_that_is_not_the_one_of_its_keypoints(tmp_path):
    clip = find_keypoints(write_video(tmp_path / "a.mp4", grey_frames(4)), FakeEstimator(), 1)
    other = write_video(tmp_path / "b.mp4", grey_frames(6))
    with pytest.raises(ValueError, match="not the one in which the keypoints were found"):
        draw_video(other, tmp_path / "out.mp4", clip, lambda frame: "")
    assert not (tmp_path / "out.mp4").exists()
    with pytest.raises(ValueError, match=r"expected a video ending in \.mp4, \.mov, \.mkv"):
        draw_video(other, tmp_path / "out.gif", clip, lambda frame: "")
