"""Small videos that tests write, and the packages that reading them needs."""

import importlib
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from support.needs import miss

from fastpose.data.pack.layouts import Layout, get_layout
from fastpose.data.sources.linking import Detections

SIZE = (48, 64)  # (h, w)


def need(*packages: str) -> None:
    """Skip the test where a package of the extra `video` is missing, or fail it if they are required."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            message = f"{error}: pip install 'fastpose-action[video]'"
            miss(message, required=os.environ.get("FASTPOSE_REQUIRE_VIDEO") == "1")


def write_video(
    path: Path,
    images: Sequence[np.ndarray],
    times: Sequence[int] | None = None,
    rotation: int = 0,
    codec: str = "libx264",
    **options: str,
) -> Path:
    """Write images uint8 [H, W, 3] as frames at ``times``, in hundredths of a second; by default 25 a second.

    ``options`` are those of the container."""
    import av

    times = [4 * i for i in range(len(images))] if times is None else times
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv444p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 100)
        if rotation:
            stream.set_display_rotation(rotation)
        for image, time in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def grey_frames(number: int, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """Frames whose brightness grows by 10 from one to the next, from 10."""
    return [np.full((*size, 3), 10 * (i + 1), np.uint8) for i in range(number)]


class FakeEstimator:
    """Finds in each frame as many persons as ``persons`` gives for its number; joints grow with its brightness."""

    def __init__(self, persons=lambda frame: 1, layout: str | Layout = "coco17"):
        self.layout = get_layout(layout)
        self.persons = persons
        self.seen: list[tuple[int, float]] = []  # brightness and time of each frame
        self.starts = 0

    def start(self):
        self.starts += 1
        self.seen = []

    def estimate(self, frame, seconds):
        self.seen.append((round(float(frame.mean())), seconds))
        number = self.persons(len(self.seen) - 1)
        points = np.arange(2.0 * self.layout.num_joints).reshape(-1, 2) % 13 + frame.mean() / 10
        keypoints = (
            np.stack([points + 20 * i for i in range(number)]) if number else np.empty((0, *points.shape))
        )
        return Detections(keypoints.astype(np.float32), np.full(keypoints.shape[:2], 0.9, np.float32))

    def close(self):
        pass
