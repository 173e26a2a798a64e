"""Skeletons and what a model says of them, drawn onto the frames of a video."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from fastpose.data.sources.found_files import printable
from fastpose.drawing.skeleton import draw_skeletons
from fastpose.drawing.style import PAPER, font, shortened
from fastpose.system.files import atomic_path
from fastpose.system.prefetch import Prefetcher
from fastpose.video.clips import FRAMES_AHEAD, VideoClip
from fastpose.video.frames import read_frames
from fastpose.video.packages import video_package

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
ENCODING = {"crf": "20", "preset": "veryfast"}  # of H.264
TEXT_SHARE = 1 / 24  # of a frame's height


def check_drawing(target: Path) -> None:
    """Refuse a video that could not be written.

    Raises:
        ValueError: a suffix other than .mp4, .mov and .mkv.
    """
    if target.suffix.lower() not in CONTAINERS:
        raise ValueError(f"{target}: expected a video ending in {', '.join(CONTAINERS)}")


def draw_video(source: Path, target: Path, clip: VideoClip, text_at: Callable[[int], str]) -> int:
    """Write a video again with the skeletons of its clip on it, atomically; sound is left out.

    Frames keep their number, times and size (a side of an odd number of pixels grows by one: H.264 knows even ones).

    Args:
        source: the video.
        target: `.mp4`, `.mov` or `.mkv`.
        clip: what was found in it.
        text_at: from a frame's number to the text at the top of it.

    Returns:
        The number of frames.

    Raises:
        ValueError: the source cannot be read, is not the one of the clip, or the target has another suffix.
        OSError: the target cannot be written.
    """
    check_drawing(target)
    av = video_package("av")
    num_frames = clip.keypoints.shape[1]
    container: Any
    with (
        atomic_path(target) as partial,
        open(partial, "wb") as file,
        av.open(file, "w", format=CONTAINERS[target.suffix.lower()]) as container,
        tqdm(total=num_frames, unit=" frames", desc="drawing", leave=False, disable=None) as bar,
        Prefetcher(read_frames(source), FRAMES_AHEAD) as frames,
    ):
        stream = None
        for index, frame in enumerate(frames):
            if frame.image.shape[:2] != clip.image_size or index >= num_frames:
                raise ValueError(f"{source}: the video is not the one in which the keypoints were found")
            image = draw_skeletons(frame.image, clip.keypoints[:, index], clip.scores[:, index], clip.layout)
            image = _even(_with_text(image, text_at(index)))
            if stream is None:
                stream = container.add_stream("libx264", rate=frame.rate, options=ENCODING)
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.time_base = stream.codec_context.time_base = frame.tick
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = frame.ticks, frame.tick
            container.mux(stream.encode(picture))
            bar.update()
        assert stream is not None, "a video without a frame is refused by read_frames"
        container.mux(stream.encode())
    return num_frames


def _even(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _with_text(image: np.ndarray, text: str) -> np.ndarray:
    """Return the image with a line of text at the top, in white casing, shortened to the image's width."""
    if not text:
        return image
    size = max(12, round(TEXT_SHARE * image.shape[0]))
    margin = size // 2
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    text = shortened(printable(text), size, image.shape[1] - 2 * margin)
    draw.text(
        (margin, margin),
        text,
        fill=(0, 0, 0),
        font=font(size),
        stroke_width=max(1, size // 8),
        stroke_fill=PAPER,
    )
    return np.array(picture)
