"""Videos in folders by class, packed as clips."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fastpose.data.pack.layouts import Layout, convert, get_layout
from fastpose.data.pack.packed import PackedClips, PoseClip
from fastpose.data.sources.clip_files import find_files
from fastpose.data.sources.found_files import printable
from fastpose.data.sources.pack_log import OnError, PackLog
from fastpose.settings.video import VideoConfig
from fastpose.video.clips import VideoClip, VideoReader, folder_name
from fastpose.video.frames import SUFFIXES, is_video


def pack_videos(
    sources: Sequence[str | Path],
    config: VideoConfig,
    *,
    layout: str | Path | Layout | None = None,
    on_error: OnError = "skip",
    progress: bool = False,
) -> tuple[PackedClips, PackLog]:
    """Find the keypoints of videos and pack them; a video's class is the name of the folder that it lies in.

    A clip is called CLASS/STEM, or CLASS/NAME where two files of a class share a stem. Classes are in alphabetical
    order, and all clips form the split "all".

    Args:
        sources: videos, folders (with their subfolders) and glob patterns.
        config: how keypoints are found.
        layout: convert to these joints; by default they are the estimator's.
        on_error: "raise" makes the first bad video an error.

    Raises:
        ValueError: no estimator, nothing to pack, or a bad video with ``on_error="raise"``.
    """
    if config.pose is None:
        raise ValueError("give --pose mediapipe or --pose rtmlib, which finds the keypoints of the videos")
    target = None if layout is None else get_layout(layout)
    log = PackLog(on_error)
    found, problems = find_files(sources, also=SUFFIXES)
    for problem in problems:
        log.skip(problem.file, problem.reason)
    videos = [path for path in found if is_video(path)]
    if not videos:
        raise ValueError(f"no video ({', '.join(SUFFIXES)}) in {', '.join(map(str, sources)) or 'no source'}")
    clips: list[PoseClip] = []
    classes: list[str] = []
    own: Layout | None = None
    with VideoReader(config) as reader:
        reader.prepare(videos)
        for path, name in tqdm(_names(videos).items(), unit=" videos", desc="packing", disable=not progress):
            try:
                clip = reader.read(path)
            except (ValueError, OSError) as error:
                log.skip(name, "video cannot be used", f"{printable(path)}: {error}")
                continue
            own = clip.layout
            clips.append(_converted(clip, target).labelled(name, 0))
            classes.append(_class_of(path))
        if reader.num_reused:
            log.notes.append(f"keypoints of {reader.num_reused} videos were those saved before")
    log.need_clips(clips, ", ".join(map(str, sources)))
    class_names = sorted(set(classes))
    number_of = {name: number for number, name in enumerate(class_names)}
    labelled = [replace(clip, label=number_of[name]) for clip, name in zip(clips, classes, strict=True)]
    log.notes.append('all clips form the split "all"')
    assert own is not None
    packed = PackedClips.from_clips(
        labelled,
        layout=target or own,
        class_names=class_names,
        splits={"all": range(len(clips))},
        source=f"videos, keypoints by {config.pose}",
    )
    return packed, log


def _converted(clip: VideoClip, target: Layout | None) -> VideoClip:
    if target is None or target == clip.layout:
        return clip
    keypoints, scores = convert(clip.keypoints, clip.scores, clip.layout, target)
    return replace(clip, keypoints=np.asarray(keypoints), scores=np.asarray(scores), layout=target)


def _class_of(path: Path) -> str:
    return printable(folder_name(path))


def _names(videos: Sequence[Path]) -> dict[Path, str]:
    """Return the name of the clip of each video, different for each."""
    names = {path: f"{_class_of(path)}/{printable(path.stem)}" for path in videos}
    for longer in (lambda path: f"{_class_of(path)}/{printable(path.name)}", printable):
        times = Counter(names.values())
        names |= {path: longer(path) for path, name in names.items() if times[name] > 1}
    return names
