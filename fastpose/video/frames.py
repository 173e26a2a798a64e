"""The frames of a video, upright and in order of time."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from fastpose.video.packages import video_package

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")
# Containers alone: a play list or a list of files would make the decoder open what its text names.
CONTAINERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,asf"
MOST_PIXELS = 2**26  # of a frame; one of twice 8K
CUT_SHARE = 0.9  # of frames and of time: a file that holds less of what its header states is cut off


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a video.

    Attributes:
        image: uint8 [H, W, 3], RGB, turned upright as the file says.
        seconds: since the beginning of the video; never less than that of the frame before.
        ticks: the same as a whole number of ``tick`` seconds; never that of the frame before.
        tick: seconds, as the file counts time.
        rate: frames per second, on average.
        total: frames that the file states, 0 where it states none.
    """

    image: np.ndarray
    seconds: float
    ticks: int
    tick: Fraction
    rate: Fraction
    total: int


def is_video(path: Path) -> bool:
    """Return whether a file is a video by its name."""
    return path.suffix.lower() in SUFFIXES


def read_frames(path: Path) -> Iterator[Frame]:
    """Yield the frames of a video one after the other, all of the size of the first.

    Raises:
        ValueError: it is no video, damaged or cut off, or PyAV is missing; the text does not name the file.
        OSError: it cannot be opened.
    """
    av = video_package("av")
    with open(path, "rb") as file:
        if not file.read(1):
            raise ValueError("the file is empty")
        file.seek(0)
        options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
        try:
            container = av.open(file, options=options, metadata_errors="replace")
        except av.FFmpegError as error:
            raise ValueError(
                f"no video that can be read ({_reason(error)}): expected a whole file of {', '.join(SUFFIXES)}"
            ) from error
        with container:
            yield from _decode(av, container)


def _decode(av: Any, container: Any) -> Iterator[Frame]:
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        raise ValueError("there is no video in it, only " + (_kinds(container) or "nothing"))
    stream = streams[0]
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MOST_PIXELS:
        raise ValueError(f"its frames have {width}×{height} pixels; at most {MOST_PIXELS} can be read")
    stream.thread_type = "AUTO"
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    count, last, first_ticks = 0, -1, 0
    seconds = 0.0
    try:
        for picture in container.decode(stream):
            tick = picture.time_base or 1 / rate
            ticks = picture.pts if picture.pts is not None else round(count / rate / tick)
            first_ticks = first_ticks if count else ticks
            last = max(ticks - first_ticks, last + 1)  # some files repeat a time
            seconds = float(last * tick)
            if not count:
                width, height = picture.width, picture.height
            image = picture.to_ndarray(format="rgb24", width=width, height=height)
            turns = round(picture.rotation / 90) % 4  # counterclockwise
            if turns:
                image = np.ascontiguousarray(np.rot90(image, turns))
            yield Frame(image, seconds, last, tick, rate, stream.frames)
            count += 1
    except av.FFmpegError as error:
        raise ValueError(f"cannot be decoded after {count} frames: {_reason(error)}") from error
    if not count:
        raise ValueError("there is no frame in it")
    stated = _stated_seconds(av, container, stream)
    if (not stream.frames or count < CUT_SHARE * stream.frames) and seconds + 1 / rate < CUT_SHARE * stated:
        of = f" of {stream.frames}" if stream.frames else ""
        raise ValueError(f"it is cut off: {count}{of} frames, {seconds:.1f} of {stated:.1f} seconds")


def _stated_seconds(av: Any, container: Any, stream: Any) -> float:
    """Return how long a stream is said to be; 0 where only the file, with its sound, is."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return 0.0 if len(container.streams) > 1 else (container.duration or 0) / av.time_base


def _kinds(container: Any) -> str:
    return " and ".join(sorted({stream.type for stream in container.streams}))


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
