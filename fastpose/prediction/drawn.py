"""What a model says of videos, drawn onto them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from fastpose.data.sources.clip_files import clip_names
from fastpose.data.sources.found_files import Problem, printable
from fastpose.prediction.predictor import Prediction
from fastpose.system.files import check_output_folder, check_target
from fastpose.video.clips import VideoClip


def check_drawings(videos: Sequence[Path], draw: Path | None) -> dict[Path, Path]:
    """Return the video to write for each of ``videos``; none without ``draw``.

    Of one video it is ``draw`` itself. For several, ``draw`` is a folder, which is made, and in it each has its own
    name with `.mp4`.

    Raises:
        ValueError: there is no video, the suffix is not one of a video, two videos would be drawn to the same
            file, or one onto itself.
        OSError: the folder cannot be made.
    """
    if draw is None:
        return {}
    from fastpose.video.drawing import CONTAINERS, check_drawing  # which loads Pillow

    if not videos:
        raise ValueError("--draw needs a video among the files")
    if len(videos) == 1 and not draw.is_dir():
        check_drawing(draw)
        drawings = {videos[0]: draw}
    else:
        if draw.suffix.lower() in CONTAINERS:
            raise ValueError(f"--draw {draw}: there are {len(videos)} videos, so expected a folder")
        check_output_folder(draw)
        draw.mkdir(parents=True, exist_ok=True)
        names = clip_names(videos)
        drawings = {
            path: draw / (names[path].removesuffix(path.suffix).lstrip("./").replace("/", "-") + ".mp4")
            for path in videos
        }
    if len(set(drawings.values())) < len(drawings):
        raise ValueError(
            f"--draw {draw}: two of the videos would be written to the same file; rename one of them"
        )
    read = {path.resolve() for path in videos}
    for drawing in drawings.values():
        if drawing.resolve() in read:
            raise ValueError(f"--draw {drawing}: this is one of the videos that are read")
        check_target(drawing)
    return drawings


def draw_predictions(video: Path, drawing: Path, clip: VideoClip, prediction: Prediction) -> list[Problem]:
    """Write a video with what was found and said of it; returns what went wrong, if anything."""
    from fastpose.video.drawing import draw_video

    try:
        draw_video(video, drawing, clip, text_of(prediction))
    except (ValueError, OSError) as error:
        return [Problem(printable(video), f"could not be drawn: {error}")]
    return []


def text_of(prediction: Prediction) -> Callable[[int], str]:
    """Return the text of each frame: the likeliest class of its clip, or of the window whose middle is nearest."""
    windows = prediction.windows or (prediction,)
    middles = [(window.first_frame + window.last_frame) / 2 for window in windows]

    def text(frame: int) -> str:
        nearest = min(range(len(windows)), key=lambda i: abs(middles[i] - frame))
        return f"{windows[nearest].names[0]}  {100 * windows[nearest].scores[0]:.0f} %"

    return text
