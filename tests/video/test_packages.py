"""What happens where the packages of the extra `video` are not installed, or not needed."""

import subprocess
import sys

import pytest

from fastpose.settings.video import VideoConfig
from fastpose.video.estimators import open_estimator
from fastpose.video.frames import read_frames


def test_packages_are_imported_when_they_are_needed():
    code = """if True:
        import sys
        import fastpose.predict, fastpose.pack, fastpose.prediction.files, fastpose.video.drawing
        print({"av", "mediapipe", "rtmlib", "cv2"} & set(sys.modules))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "set()", done.stderr


def test_a_missing_package_is_told_with_what_to_install(monkeypatch, tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes(b"video")
    weights = tmp_path / "pose.task"
    weights.write_bytes(b"weights")
    for package, needed in [
        ("av", lambda: list(read_frames(video))),
        ("mediapipe", lambda: open_estimator("mediapipe", str(weights), 2)),
        ("rtmlib", lambda: open_estimator("rtmlib", None, 2)),
    ]:
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ValueError) as error:
            needed()
        assert str(error.value) == f"{package} is needed to read videos: pip install 'fastpose-action[video]'"


def test_settings_of_videos():
    with pytest.raises(ValueError, match="expected 1 to 100 persons"):
        VideoConfig(pose="mediapipe", pose_persons=0)
    with pytest.raises(ValueError, match="pose = None: expected mediapipe or rtmlib"):
        VideoConfig(save_keypoints=True)
