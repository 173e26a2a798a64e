"""Videos in folders by class, packed as clips."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from fastpose.data.pack.clip_check import check_clip
from fastpose.data.pack.layouts import Layout
from fastpose.data.pack.packed import PackedClips
from fastpose.data.sources.clip_files import find_files
from fastpose.data.sources.found_files import Problem, ReadClip, printable, problem_of
from fastpose.data.sources.keypoint_folder import LabelOptions, pack_found
from fastpose.data.sources.labels import ClipLabel, label_of_folders
from fastpose.data.sources.pack_log import OnError, PackLog
from fastpose.settings.keypoints import KeypointOptions
from fastpose.settings.video import VideoConfig
from fastpose.video.clips import VideoReader, folder_name
from fastpose.video.frames import SUFFIXES, is_video


def pack_videos(
    sources: Sequence[str | Path],
    config: VideoConfig,
    *,
    labels: LabelOptions | None = None,
    min_score: float = 0.0,
    convert_to: str | Path | Layout | None = None,
    on_error: OnError = "skip",
    progress: bool = False,
) -> tuple[PackedClips, PackLog]:
    """Find the keypoints of videos and pack them; a video's class is the name of the folder that it lies in.

    A folder called train, val or test, in or above that of the class, is the split. A clip is called CLASS/STEM, or
    CLASS/NAME where two files of a class share a stem.

    Args:
        sources: videos, folders (with their subfolders) and glob patterns.
        config: how keypoints are found.
        labels: a table of labels instead of the folders, and clips to hold out.
        min_score: a joint with a smaller score is missing.
        convert_to: layout of the pack; by default the estimator's.
        on_error: "raise" makes the first bad video an error.
        progress: show progress bars on the error stream.

    Raises:
        ValueError: no estimator, nothing to pack, or a bad video with ``on_error="raise"``.
        OSError: the table of labels cannot be read.
    """
    if config.pose is None:
        raise ValueError("give --pose mediapipe or --pose rtmlib, which finds the keypoints of the videos")
    log, options = PackLog(on_error), KeypointOptions(min_score=min_score)
    found, problems = find_files(sources, also=SUFFIXES)
    for problem in problems:
        log.skip(problem.file, problem.reason)
    videos = [path for path in found if is_video(path)]
    where = ", ".join(map(str, sources))
    if not videos:
        raise ValueError(f"no video ({', '.join(SUFFIXES)}) in {where or 'no source'}")
    with VideoReader(config) as reader:
        reader.prepare(videos)
        names = _names(videos)
        shown = tqdm(videos, unit=" videos", desc="packing", disable=not progress)
        packed = pack_found(
            _read(reader, shown, names, options),
            where,
            log,
            labels or LabelOptions(),
            convert_to=convert_to,
            made_of=f"videos, keypoints by {config.pose}",
        )
        if reader.num_reused:
            log.notes.append(f"keypoints of {reader.num_reused} videos were those saved before")
    return packed, log


def _read(
    reader: VideoReader, videos: Iterable[Path], names: Mapping[Path, str], options: KeypointOptions
) -> Iterator[ReadClip | Problem]:
    for path in videos:
        try:
            clip, name = reader.read(path), names[path]
            checked = check_clip(clip.labelled(name, 0), clip.layout, name, options, persons_first=True)
        except (ValueError, OSError) as error:
            yield problem_of(path, error)
            continue
        folder = label_of_path(path)
        yield ReadClip(printable(path), replace(checked, split=folder.split), clip.layout, folder.label)


def label_of_path(path: Path) -> ClipLabel:
    """Return the class and perhaps the split of a video by the folders that it lies in.

    "walk/a.mp4" is of class walk, whatever lies above; "train/walk/a.mp4" and "walk/train/a.mp4" also of split train.
    """
    parts = PurePosixPath(printable(path.absolute())).parts[-3:]
    for first in (0, 1):
        label = label_of_folders("/".join(part.strip("/") for part in parts[first:]))
        if label is not None and label.split is not None:
            return label
    return ClipLabel(printable(folder_name(path)))


def _names(videos: Sequence[Path]) -> dict[Path, str]:
    """Return the name of the clip of each video, different for each."""
    classes = {path: label_of_path(path).label for path in videos}
    names = {path: f"{classes[path]}/{printable(path.stem)}" for path in videos}
    for longer in (lambda path: f"{classes[path]}/{printable(path.name)}", printable):
        times = Counter(names.values())
        names |= {path: longer(path) for path, name in names.items() if times[name] > 1}
    return names
