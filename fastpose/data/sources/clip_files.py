"""Files of clips to be classified, of any kind that fastpose reads, as a stream of small packs."""

import glob
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from fastpose.data.core import core
from fastpose.data.pack import clip_builder
from fastpose.data.pack.clip_check import CheckedClip
from fastpose.data.pack.layouts import KINECT25, Layout
from fastpose.data.pack.packed import PackedClips
from fastpose.data.sources.found_files import (
    SUFFIXES,
    Problem,
    ReadClip,
    ReadOptions,
    printable,
    problem_of,
    read_found,
)
from fastpose.data.sources.ntu import IMAGE_SIZE
from fastpose.data.sources.pack_log import PackLog
from fastpose.data.sources.pyskl import member_names, read_annotations
from fastpose.data.sources.unlabelled import NO_CLASSES, pack_unlabelled
from fastpose.settings.short_text import short_names

FILES_PER_CALL = 64  # of `.skeleton` files; the model waits for the first of these calls
CLIPS_PER_GROUP = 256


@dataclass(frozen=True, slots=True)
class ClipGroup:
    """Some clips of one layout.

    Attributes:
        packed: the clips.
        files: the file that each came from.
        first_frames: int64 [n], frames without anybody that were cut off before each.
        notes: what was taken to be what, and in how many clips.
    """

    packed: PackedClips
    files: list[str]
    first_frames: np.ndarray
    notes: Counter[str] = field(default_factory=Counter)


def find_files(
    sources: Iterable[str | Path], *, also: Collection[str] = ()
) -> tuple[list[Path], list[Problem]]:
    """Find the files of files, folders (with their subfolders) and glob patterns, in the order given.

    Of a folder, those are taken whose suffix has a reader or is among ``also``. A file that is found again is left
    out. A source without a file is a problem, not an error.
    """
    found: dict[Path, None] = {}
    problems = []
    suffixes = (*READERS, *also)
    for source in map(str, sources):
        path = Path(source)
        if path.is_dir():
            paths = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
            reason = f"holds no file to read ({', '.join(suffixes)})"
        elif path.exists() or not glob.has_magic(source):
            paths, reason = [path], ""
        else:
            paths = [Path(p) for p in sorted(glob.glob(source, recursive=True)) if Path(p).is_file()]
            reason = "no file matches"
        if not paths:
            problems.append(Problem(source, reason))
        found |= dict.fromkeys(paths)
    return list(found), problems


def clip_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return a name for the clip of each file: its stem, or its whole path where two share a stem."""
    stems = Counter(path.stem for path in paths)
    return {path: printable(path.stem if stems[path.stem] == 1 else path) for path in paths}


def read_clips(paths: Sequence[Path], options: ReadOptions) -> Iterator[ClipGroup | Problem]:
    """Read files in the order given: groups of at most 256 clips, and what could not be used.

    A clip's name is that in its file, else the file's stem, or its whole path where two files share a stem.
    """
    names = clip_names(paths)
    for reader, members in groupby(paths, key=_reader_of):
        yield from reader({path: names[path] for path in members}, options)


def _reader_of(path: Path) -> "Reader":
    return READERS.get(path.suffix.lower(), _read_unknown) if path.is_file() else _read_unknown


def _read_unknown(names: Mapping[Path, str], options: ReadOptions) -> Iterator[Problem]:
    for path in names:
        if path.is_file():
            yield Problem(printable(path), f"no such kind of file; expected one of {', '.join(READERS)}")
        else:
            yield Problem(printable(path), "not an ordinary file" if path.exists() else "no such file")


def _read_skeletons(names: Mapping[Path, str], options: ReadOptions) -> Iterator[ClipGroup | Problem]:
    paths = list(names)
    for first in range(0, len(paths), FILES_PER_CALL):
        chunk = paths[first : first + FILES_PER_CALL]
        decoded = core.pack_skeletons(
            [str(path) for path in chunk], 2, options.threads or core.hardware_threads()
        )
        yield from (
            problem_of(path, text) for path, text in zip(chunk, decoded["errors"], strict=True) if text
        )
        good = [i for i, text in enumerate(decoded["errors"]) if not text]
        if not good:
            continue
        persons, frames = decoded["num_persons"][good], decoded["num_frames"][good]
        offsets = clip_builder.row_offsets(persons, frames)
        of_good = [names[chunk[i]] for i in good]
        packed = PackedClips(
            keypoints=decoded["keypoints"],
            scores=decoded["scores"],
            offsets=offsets,
            num_persons=persons,
            num_frames=frames,
            labels=np.zeros(len(good), np.int64),
            image_sizes=np.tile(np.array(IMAGE_SIZE, np.int32), (len(good), 1)),
            name_hashes=np.array([clip_builder.name_hash(name) for name in of_good], np.uint64),
            total_difference=clip_builder.differences(
                decoded["keypoints"], decoded["scores"], offsets, frames
            ),
            names=of_good,
            splits={},
            layout=KINECT25,
            class_names=NO_CLASSES,
            source=".skeleton files",
        )
        yield ClipGroup(packed, [printable(chunk[i]) for i in good], np.zeros(len(good), np.int64))


def _read_pickles(names: Mapping[Path, str], options: ReadOptions) -> Iterator[ClipGroup | Problem]:
    for path in names:
        log = PackLog()
        try:
            clips, splits, layout = read_annotations(
                path,
                log,
                source_layout=options.layout,
                image_size=options.image_size,
                keypoints=options.keypoints,
                kpfiles=options.kpfiles,
                labelled=False,
            )
            chosen = _in_split(path, clips, splits, options.split)
        except (ValueError, OSError) as error:
            yield problem_of(path, error)
            continue
        skipped = [detail for items in log.skipped.values() for _, detail in items]
        yield from (problem_of(path, detail) for detail in skipped)
        if not chosen and not skipped:
            yield Problem(printable(path), "holds no clip")
        for first in range(0, len(chosen), CLIPS_PER_GROUP):
            group = chosen[first : first + CLIPS_PER_GROUP]
            yield _group(group, layout, [printable(path)] * len(group))


def _in_split(
    path: Path, clips: Mapping[str, CheckedClip], splits: Mapping[str, Any] | None, split: str | None
) -> list[CheckedClip]:
    if split is None:
        return list(clips.values())
    splits = splits or {}
    if split not in splits:
        raise ValueError(f"{path}: no split {split!r}; there are: {short_names(splits) or 'none'}")
    members = set(member_names(splits[split], f"{path}: split {split!r}"))
    return [clip for name, clip in clips.items() if name in members]


def _read_packed(names: Mapping[Path, str], options: ReadOptions) -> Iterator[ClipGroup | Problem]:
    for path in names:
        try:
            packed = PackedClips.load(path)
            chosen = np.arange(len(packed)) if options.split is None else packed.split(options.split)
        except (ValueError, OSError) as error:
            yield problem_of(path, error)
            continue
        for first in range(0, len(chosen), CLIPS_PER_GROUP):
            group = packed.subset(chosen[first : first + CLIPS_PER_GROUP])
            yield ClipGroup(group, [printable(path)] * len(group), np.zeros(len(group), np.int64))


def _read_keypoints(names: Mapping[Path, str], options: ReadOptions) -> Iterator[ClipGroup | Problem]:
    """Yield clips of keypoint files of any form, gathered over files of one layout."""
    clips: list[ReadClip] = []
    met: set[str] = set()
    for item in read_found(names, lambda path: names.get(path, printable(path.name)), options):
        if isinstance(item, Problem):
            yield item
            continue
        if clips and (
            item.layout != clips[0].layout or len(clips) == CLIPS_PER_GROUP or item.clip.name in met
        ):
            yield _group([read.clip for read in clips], clips[0].layout, [read.file for read in clips])
            clips.clear()
            met.clear()
        clips.append(item)
        met.add(item.clip.name)
    if clips:
        yield _group([read.clip for read in clips], clips[0].layout, [read.file for read in clips])


def _group(clips: Sequence[CheckedClip], layout: Layout, files: list[str]) -> ClipGroup:
    packed = pack_unlabelled(clips, layout, "keypoint files")
    notes = Counter(note for clip in clips for note in clip.notes)
    return ClipGroup(packed, files, np.array([clip.first_frame for clip in clips], np.int64), notes)


Reader = Callable[[Mapping[Path, str], ReadOptions], Iterator[ClipGroup | Problem]]
READERS: dict[str, Reader] = {
    ".skeleton": _read_skeletons,
    ".pkl": _read_pickles,
    ".pickle": _read_pickles,
    **dict.fromkeys(SUFFIXES, _read_keypoints),
    ".safetensors": _read_packed,
}
