"""What is drawn onto videos: where, and which words in which frame."""

from pathlib import Path

import numpy as np
import pytest

from fastpose.prediction.drawn import check_drawings, text_of
from fastpose.prediction.predictor import Prediction


def prediction(first, last, name, score, windows=()):
    empty = np.zeros(0, np.float32)
    return Prediction(
        "a", first, last, np.array([0]), (name,), np.array([score], np.float32), empty, windows=windows
    )


def test_a_clip_has_one_text():
    text = text_of(prediction(0, 71, "walk", 0.876))
    assert {text(frame) for frame in range(72)} == {"walk  88 %"}


def test_windows_have_texts_of_their_own():
    windows = (
        prediction(0, 99, "walk", 0.5),
        prediction(50, 149, "run", 0.6),
        prediction(100, 199, "jump", 1),
    )
    text = text_of(prediction(0, 199, "run", 0.4, windows))
    named = [text(frame).split()[0] for frame in range(200)]
    # The middles of the windows are frames 49.5, 99.5 and 149.5.
    assert named == ["walk"] * 75 + ["run"] * 50 + ["jump"] * 75


def test_where_drawings_go(tmp_path):
    a, b, c = Path("x/a.mp4"), Path("y/a.mp4"), Path("z/c.avi")
    assert check_drawings([a], None) == {}
    assert check_drawings([a], tmp_path / "out.mkv") == {a: tmp_path / "out.mkv"}
    assert check_drawings([a], tmp_path) == {a: tmp_path / "a.mp4"}
    assert check_drawings([a, b, c], tmp_path / "drawn") == {
        a: tmp_path / "drawn" / "x-a.mp4",
        b: tmp_path / "drawn" / "y-a.mp4",
        c: tmp_path / "drawn" / "c.mp4",
    }
    assert (tmp_path / "drawn").is_dir()


def test_drawings_that_cannot_be_written(tmp_path):
    a, b = tmp_path / "a.mp4", tmp_path / "b.mp4"
    for videos, draw, said in [
        ([], tmp_path / "o.mp4", "--draw needs a video among the files"),
        ([a], tmp_path / "o.gif", "o.gif: expected a video ending in .mp4, .mov, .mkv"),
        ([a], a, "a.mp4: this is one of the videos that are read"),
        ([a, b], tmp_path, "a.mp4: this is one of the videos that are read"),
        ([a, b], tmp_path / "o.mp4", "there are 2 videos, so expected a folder"),
    ]:
        with pytest.raises(ValueError) as error:
            check_drawings(videos, draw)
        assert said in str(error.value)
    with pytest.raises(FileNotFoundError):
        check_drawings([a], tmp_path / "missing" / "o.mp4")
