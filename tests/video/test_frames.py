"""Frames of videos: order, times, rotation, and files that are none."""

import numpy as np
import pytest
from support.videos import SIZE, grey_frames, need, write_video

from fastpose.video.frames import read_frames


@pytest.fixture(autouse=True)
def _av():
    need("av")


def brightness(frames):
    return [round(float(frame.image.mean())) for frame in frames]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "webm"])
def test_frames_in_order(tmp_path, suffix):
    codec = {"avi": "ffv1", "webm": "libvpx-vp9"}.get(suffix, "libx264")
    frames = list(read_frames(write_video(tmp_path / f"a.{suffix}", grey_frames(8), codec=codec)))
    assert brightness(frames) == pytest.approx(range(10, 90, 10), abs=2)
    assert {frame.image.shape for frame in frames} == {(*SIZE, 3)}
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(8) / 25, atol=2e-3)


def test_frames_of_varying_length(tmp_path):
    times = [0, 3, 4, 20, 21, 50]
    frames = list(read_frames(write_video(tmp_path / "a.mp4", grey_frames(6), times)))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.array(times) / 100, atol=1e-6)
    np.testing.assert_allclose([float(frame.ticks * frame.tick) for frame in frames], np.array(times) / 100)


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotated_frames_stand_upright(tmp_path, rotation):
    image = np.zeros((*SIZE, 3), np.uint8)
    image[:24, :32] = 250  # top left
    (frame,) = read_frames(write_video(tmp_path / "a.mp4", [image], rotation=rotation))
    assert frame.image.shape[:2] == (SIZE if rotation == 180 else SIZE[::-1])
    height, width = frame.image.shape[:2]
    corners = {
        90: (height - 9, 8),  # a quarter counterclockwise: bottom left
        180: (height - 9, width - 9),
        -90: (8, width - 9),
    }
    for turned, at in corners.items():
        assert (frame.image[at].min() > 200) == (turned == rotation)
    assert frame.image.flags.c_contiguous


def test_files_that_are_no_videos(tmp_path):
    good = write_video(tmp_path / "good.mp4", grey_frames(8)).read_bytes()
    play_list = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{tmp_path}/good.mp4\n#EXT-X-ENDLIST\n"
    for content, said in [
        (b"", "the file is empty"),
        (b"hello\nworld\n" * 100, "no video that can be read"),
        (good[: len(good) // 2], "no video that can be read"),
        (play_list.encode(), "no video that can be read"),
        (f"ffconcat version 1.0\nfile {tmp_path}/good.mp4\n".encode(), "no video that can be read"),
    ]:
        path = tmp_path / "bad.mp4"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=said):
            list(read_frames(path))
    with pytest.raises(FileNotFoundError):
        list(read_frames(tmp_path / "none.mp4"))


def test_a_damaged_video_says_where(tmp_path):
    rng = np.random.default_rng(0)
    noisy = [rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for _ in range(20)]
    path = write_video(tmp_path / "a.mp4", noisy)
    content = bytearray(path.read_bytes())
    middle = content.find(b"mdat") + len(content) // 2
    content[middle : middle + len(content) // 4] = rng.bytes(len(content) // 4)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be decoded after \d+ frames: "):
        list(read_frames(path))


@pytest.mark.parametrize(
    ("suffix", "said"),
    [
        ("mkv", r"it is cut off: \d+ frames, 0\.\d of 1\.6 seconds"),
        ("mp4", r"it is cut off: \d+ of 40 frames, 0\.\d of 1\.6"),
    ],
)
def test_a_video_that_is_cut_off(tmp_path, suffix, said):
    rng = np.random.default_rng(0)
    noisy = [rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for _ in range(40)]
    path = write_video(tmp_path / f"a.{suffix}", noisy, movflags="faststart")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(ValueError, match=said):
        list(read_frames(path))
    path.write_bytes(content)
    assert len(list(read_frames(path))) == 40


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_sound_that_goes_on_longer(tmp_path, suffix):
    import av

    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        video, sound = (
            container.add_stream("libx264", rate=25),
            container.add_stream("aac", rate=8000, layout="mono"),
        )
        video.height, video.width = SIZE
        for image in grey_frames(10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
        container.mux(video.encode())
        container.mux(sound.encode())
    assert len(list(read_frames(path))) == 10


def test_sound_alone(tmp_path):
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match="there is no video in it, only audio"):
        list(read_frames(tmp_path / "a.mp4"))


def test_text_in_a_video_need_not_be_unicode(tmp_path):
    import av

    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "TITLE"
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = SIZE
        container.mux(stream.encode(av.VideoFrame.from_ndarray(grey_frames(1)[0], format="rgb24")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"TITLE", b"T\xffT\xfeE"))
    assert len(list(read_frames(path))) == 1
