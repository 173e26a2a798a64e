"""Videos as clips: keypoints of an estimator, linked to persons, kept in a file beside the video on request."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fastpose.data.pack.clip_check import check_clip, check_image_size, check_name
from fastpose.data.pack.layouts import LAYOUTS, Layout
from fastpose.data.pack.packed import PoseClip
from fastpose.data.sources.clip_files import ClipGroup, clip_names, read_clips
from fastpose.data.sources.found_files import Problem, ReadOptions, printable
from fastpose.data.sources.linking import Detections, link
from fastpose.data.sources.npz_file import read_arrays
from fastpose.data.sources.unlabelled import pack_unlabelled
from fastpose.settings.keypoints import KeypointOptions
from fastpose.settings.video import EstimatorName, VideoConfig
from fastpose.system.files import atomic_path, check_output_folder, check_target
from fastpose.system.prefetch import Prefetcher
from fastpose.video.estimators import PoseEstimator, describe_estimator, open_estimator
from fastpose.video.frames import Frame, is_video, read_frames

FRAMES_AHEAD = 4  # decoded while the estimator works
SAVED_ARRAYS = ("keypoints", "scores", "layout", "image_size", "name", "estimator", "video")
KEYPOINTS_ENDING = ".keypoints.npz"
NO_ESTIMATOR = "a video, whose keypoints nobody has found: give --pose mediapipe or --pose rtmlib"


@dataclass(frozen=True, slots=True, eq=False)
class VideoClip:
    """What an estimator found in a video.

    Attributes:
        name: the file's stem.
        keypoints: float32 [M, T, V, 2], pixels of the upright frames; 0 where a person is absent.
        scores: float32 [M, T, V].
        layout: what the V joints are.
        image_size: (h, w).
    """

    name: str
    keypoints: np.ndarray
    scores: np.ndarray
    layout: Layout
    image_size: tuple[int, int]

    def labelled(self, name: str, label: int) -> PoseClip:
        """Return the clip as a pack takes it."""
        return PoseClip(name, self.keypoints, self.scores, label, self.image_size)


class Stopped(Exception):
    """Ends the reading of a video that nobody waits for any more."""


@dataclass(slots=True)
class VideoReader:
    """Reads videos as clips; the estimator is loaded when the first of them needs it.

    Attributes:
        config: how keypoints are found.
        keep: whether ``clips`` keeps what was read.
        clips: by file.
        num_reused: videos whose keypoints were taken from a file.
        stopped: set by another thread to end reading, within the time that a frame takes, by ``Stopped``.
    """

    config: VideoConfig
    keep: bool = False
    clips: dict[str, VideoClip] = field(default_factory=dict)
    num_reused: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    _description: str = ""
    _estimator: PoseEstimator | None = None

    def __post_init__(self) -> None:
        config = self.config
        if config.pose is not None:
            self._description = describe_estimator(config.pose, config.pose_weights, config.pose_persons)

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        if self._estimator is not None:
            self._estimator.close()
            self._estimator = None

    def prepare(self, paths: Sequence[Path]) -> None:
        """Load the estimator, if a video among ``paths`` needs it.

        Raises:
            ValueError: the estimator's package or weights are missing or damaged.
        """
        videos = [path for path in paths if is_video(path) and path.is_file()]
        if self.config.pose is not None and any(
            not self._saves or not self.keypoints_file(path).exists() for path in videos
        ):
            self._loaded(self.config.pose)

    def read_any(self, paths: Sequence[Path], options: ReadOptions) -> Iterator[ClipGroup | Problem]:
        """Yield what ``read_clips`` does, and a group for each video among the files."""
        if self.config.pose is not None:
            saved = {self.keypoints_file(path) for path in paths if is_video(path)}
            paths = [path for path in paths if path not in saved]  # the same clips again
        names = clip_names([path for path in paths if is_video(path)])
        taken = KeypointOptions(min_score=options.keypoints.min_score)
        for videos, members in groupby(paths, key=is_video):
            if not videos:
                yield from read_clips(list(members), options)
                continue
            for path in members:
                try:
                    clip, name = self.read(path), names[path]
                    checked = check_clip(clip.labelled(name, 0), clip.layout, name, taken, persons_first=True)
                except (ValueError, OSError) as error:
                    yield Problem(printable(path), _text(error))
                    continue
                packed = pack_unlabelled([checked], clip.layout, "videos")
                yield ClipGroup(packed, [printable(path)], np.array([checked.first_frame], np.int64))

    def read(self, path: Path) -> VideoClip:
        """Return the clip of a video, whose keypoints are those saved before or are found now.

        Raises:
            ValueError: no video, damaged, without any person; or there is no estimator. The text does not name the
                file.
            OSError: the video cannot be opened, or the keypoints not be saved.
        """
        if self.config.pose is None:
            raise ValueError(NO_ESTIMATOR)
        clip = self._saved(path)
        if clip is None:
            clip = self._found(path, self._loaded(self.config.pose))
        else:
            self.num_reused += 1
        if self.keep:
            self.clips[printable(path)] = clip
        return clip

    def keypoints_file(self, path: Path) -> Path:
        """Return where a video's keypoints are kept: beside it, or in the folder given, below its own folder's name."""
        folder = self.config.keypoints_folder
        beside = path.parent if folder is None else folder / folder_name(path)
        return beside / (path.name + KEYPOINTS_ENDING)

    @property
    def _saves(self) -> bool:
        return self.config.save_keypoints or self.config.keypoints_folder is not None

    def _loaded(self, pose: EstimatorName) -> PoseEstimator:
        if self._estimator is None:
            self._estimator = open_estimator(pose, self.config.pose_weights, self.config.pose_persons)
        return self._estimator

    def _found(self, path: Path, estimator: PoseEstimator) -> VideoClip:
        if not path.is_file():
            raise ValueError("not an ordinary file" if path.exists() else "no such file")
        target = self.keypoints_file(path) if self._saves else None
        if target is not None:
            check_output_folder(target.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            check_target(target)
        with tqdm(unit=" frames", desc=printable(path.name), leave=False, disable=None) as bar:

            def on_frame(frame: Frame) -> None:
                if self.stopped.is_set():
                    raise Stopped
                bar.total = frame.total or None
                bar.update()

            clip = find_keypoints(path, estimator, self.config.pose_persons, on_frame)
        if target is not None:
            save_keypoints(target, clip, self._description, path)
        return clip

    def _saved(self, path: Path) -> VideoClip | None:
        if not self._saves:
            return None
        return load_keypoints(self.keypoints_file(path), self._description, path)


def find_keypoints(
    path: Path,
    estimator: PoseEstimator,
    max_persons: int,
    on_frame: Callable[[Frame], object] = lambda _: None,
) -> VideoClip:
    """Find the persons in all frames of a video and link them through time.

    Raises:
        ValueError: no video, damaged, or nobody is in it; the text does not name the file.
        OSError: it cannot be opened.
    """
    estimator.start()
    detections: list[Detections] = []
    image_size = (0, 0)
    with Prefetcher(read_frames(path), FRAMES_AHEAD) as frames:
        for frame in frames:
            image_size = frame.image.shape[0], frame.image.shape[1]
            detections.append(estimator.estimate(frame.image, frame.seconds))
            on_frame(frame)
    linked = link(detections, max_persons=max_persons)
    if not len(linked.keypoints):
        raise ValueError(f"nobody was found in any of its {len(detections)} frames")
    return VideoClip(path.stem, linked.keypoints, linked.scores, estimator.layout, image_size)


def save_keypoints(target: Path, clip: VideoClip, description: str, video: Path) -> None:
    """Write the keypoints of a video as an `.npz` that every command reads, atomically.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_path(target) as partial, open(partial, "wb") as file:
        np.savez_compressed(
            file,
            keypoints=clip.keypoints,
            scores=clip.scores,
            layout=np.array(clip.layout.name),
            image_size=np.array(clip.image_size, np.int64),
            name=np.array(clip.name),
            estimator=np.array(description),
            video=np.array(_digest(video)),
        )


def load_keypoints(saved: Path, description: str, video: Path) -> VideoClip | None:
    """Return what ``save_keypoints`` wrote of a video by the estimator of a description; None for anything else."""
    try:
        arrays, _ = read_arrays(saved, SAVED_ARRAYS)
        if str(arrays["estimator"]) != description or str(arrays["video"]) != _digest(video):
            return None
        layout = LAYOUTS[str(arrays["layout"])]
        keypoints, scores = arrays["keypoints"], arrays["scores"]
        fits = (
            keypoints.ndim == 4 and keypoints.shape[2:] == (layout.num_joints, 2) and 0 not in keypoints.shape
        )
        if (
            not fits
            or scores.shape != keypoints.shape[:3]
            or {keypoints.dtype, scores.dtype} != {np.dtype("f4")}
        ):
            return None
        size = check_image_size(arrays["image_size"].tolist())
        return VideoClip(check_name(str(arrays["name"]), video.stem), keypoints, scores, layout, size)
    except (OSError, ValueError, KeyError):
        return None  # not there, or another file of that name: the keypoints are found again


def _digest(video: Path) -> str:
    with open(video, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_name(path: Path) -> str:
    """Return the name of the folder in which a file, or a link to it, lies."""
    return Path(os.path.abspath(path)).parent.name


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        name = f"{printable(error.filename)}: " if error.filename else ""
        return f"{name}{error.strerror}"
    return str(error)
