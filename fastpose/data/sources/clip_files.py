"""Files of clips to be classified, of any kind that fastpose reads, as a stream of small packs."""

import glob
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from fastpose.data.core import core
from fastpose.data.pack import clip_builder
from fastpose.data.pack.clip_builder import CheckedClip
from fastpose.data.pack.layouts import KINECT25, LAYOUTS, Layout
from fastpose.data.pack.packed import PackedClips
from fastpose.data.sources.npz import read_npz, refuse_mistyped
from fastpose.data.sources.ntu import IMAGE_SIZE
from fastpose.data.sources.pack_log import PackLog
from fastpose.data.sources.pyskl import read_annotations
from fastpose.data.sources.unlabelled import NO_CLASSES, pack_unlabelled, unlabelled_clip

FILES_PER_CALL = 64  # of `.skeleton` files; the model waits for the first of these calls
CLIPS_PER_GROUP = 256
FIELDS = ("keypoints", "scores", "image_size", "layout", "name", "label", "split")


@dataclass(frozen=True, slots=True)
class ClipGroup:
    """Some clips of one layout, and the file that each came from."""

    packed: PackedClips
    files: list[str]


@dataclass(frozen=True, slots=True)
class Problem:
    """A file, or a clip of it, that cannot be used, and why."""

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What files do not say themselves.

    Attributes:
        layout: joints of `.npz` and `.json` files that name none, and of pickles; without it, pickles are
            COCO-17, Kinect-25 or Penn-13 by their number of joints.
        image_size: (h, w) for clips that do not say theirs.
        split: take only this split of pickles and packed files.
        threads: decoder threads; 0 for all that this process may use.
    """

    layout: Layout | None = None
    image_size: tuple[int, int] | None = None
    split: str | None = None
    threads: int = 0


def find_files(sources: Iterable[str | Path]) -> tuple[list[Path], list[Problem]]:
    """Find the files of files, folders (with their subfolders) and glob patterns, in the order given.

    A file that is found again is left out. A source without a file is a problem, not an error.
    """
    found: dict[Path, None] = {}
    problems = []
    for source in map(str, sources):
        path = Path(source)
        if path.is_dir():
            paths = sorted(p for p in path.rglob("*") if p.suffix.lower() in READERS and p.is_file())
            reason = f"holds no file to read ({', '.join(READERS)})"
        elif path.exists() or not glob.has_magic(source):
            paths, reason = [path], ""
        else:
            paths = [Path(p) for p in sorted(glob.glob(source, recursive=True)) if Path(p).is_file()]
            reason = "no file matches"
        if not paths:
            problems.append(Problem(source, reason))
        found |= dict.fromkeys(paths)
    return list(found), problems


def read_clips(paths: Sequence[Path], options: ReadOptions) -> Iterator[ClipGroup | Problem]:
    """Read files in the order given: groups of at most 256 clips, and what could not be used.

    A clip's name is that in its file, else the file's stem, or its whole path where two files share a stem.
    """
    stems = Counter(path.stem for path in paths)
    names = {path: printable(path.stem if stems[path.stem] == 1 else path) for path in paths}
    for reader, members in groupby(paths, key=_reader_of):
        yield from reader({path: names[path] for path in members}, options)


def _reader_of(path: Path) -> "Reader":
    return READERS.get(path.suffix.lower(), _read_unknown) if path.is_file() else _read_unknown


def printable(path: str | Path) -> str:
    """Return the text of a path, whose bytes need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


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
        yield from (_problem(path, text) for path, text in zip(chunk, decoded["errors"], strict=True) if text)
        good = [i for i, text in enumerate(decoded["errors"]) if not text]
        if not good:
            continue
        persons, frames = decoded["num_persons"][good], decoded["num_frames"][good]
        offsets = clip_builder.row_offsets(persons, frames)
        clip_names = [names[chunk[i]] for i in good]
        packed = PackedClips(
            keypoints=decoded["keypoints"],
            scores=decoded["scores"],
            offsets=offsets,
            num_persons=persons,
            num_frames=frames,
            labels=np.zeros(len(good), np.int64),
            image_sizes=np.tile(np.array(IMAGE_SIZE, np.int32), (len(good), 1)),
            name_hashes=np.array([clip_builder.name_hash(name) for name in clip_names], np.uint64),
            total_difference=clip_builder.differences(
                decoded["keypoints"], decoded["scores"], offsets, frames
            ),
            names=clip_names,
            splits={},
            layout=KINECT25,
            class_names=NO_CLASSES,
            source=".skeleton files",
        )
        yield ClipGroup(packed, [printable(chunk[i]) for i in good])


def _read_pickles(names: Mapping[Path, str], options: ReadOptions) -> Iterator[ClipGroup | Problem]:
    for path in names:
        log = PackLog()
        try:
            clips, splits, layout = read_annotations(
                path, log, source_layout=options.layout, image_size=options.image_size, labelled=False
            )
            chosen = _in_split(path, clips, splits, options.split)
        except (ValueError, OSError) as error:
            yield _problem(path, error)
            continue
        skipped = [detail for items in log.skipped.values() for _, detail in items]
        yield from (_problem(path, detail) for detail in skipped)
        if not chosen and not skipped:
            yield Problem(printable(path), "holds no clip")
        for first in range(0, len(chosen), CLIPS_PER_GROUP):
            group = chosen[first : first + CLIPS_PER_GROUP]
            yield ClipGroup(pack_unlabelled(group, layout, printable(path)), [printable(path)] * len(group))


def _in_split(
    path: Path, clips: Mapping[str, CheckedClip], splits: Mapping[str, Any] | None, split: str | None
) -> list[CheckedClip]:
    if split is None:
        return list(clips.values())
    splits = splits or {}
    if split not in splits:
        raise ValueError(f"{path}: no split {split!r}; there are: {', '.join(map(str, splits)) or 'none'}")
    members = set(map(str, splits[split]))
    return [clip for name, clip in clips.items() if name in members]


def _read_packed(names: Mapping[Path, str], options: ReadOptions) -> Iterator[ClipGroup | Problem]:
    for path in names:
        try:
            packed = PackedClips.load(path)
            chosen = np.arange(len(packed)) if options.split is None else packed.split(options.split)
        except (ValueError, OSError) as error:
            yield _problem(path, error)
            continue
        for first in range(0, len(chosen), CLIPS_PER_GROUP):
            group = packed.subset(chosen[first : first + CLIPS_PER_GROUP])
            yield ClipGroup(group, [printable(path)] * len(group))


def _read_fields(
    read: Callable[[Path], list[dict[str, Any]]], names: Mapping[Path, str], options: ReadOptions
) -> Iterator[ClipGroup | Problem]:
    """Yield clips of files that hold keypoints by name, gathered over files of one layout."""
    clips: list[CheckedClip] = []
    files: list[str] = []
    layout: Layout | None = None
    met: set[str] = set()

    def gathered() -> Iterator[ClipGroup]:
        if clips:
            assert layout is not None
            yield ClipGroup(pack_unlabelled(clips, layout, "keypoint files"), list(files))
            clips.clear()
            files.clear()
            met.clear()

    for path, name in names.items():
        try:
            contents = read(path)
        except (ValueError, OSError) as error:
            yield _problem(path, error)
            continue
        for i, fields in enumerate(contents):
            default = name if len(contents) == 1 else f"{name}[{i}]"
            try:
                own = _layout_of(fields, options)
                given = {"image_size": options.image_size, **fields}
                if given["image_size"] is None:
                    raise ValueError("no image_size in it; give --image-size H W")
                clip = unlabelled_clip(given, own, str(fields.get("name") or default))
            except ValueError as error:
                yield _problem(path, error)
                continue
            if own != layout or len(clips) == CLIPS_PER_GROUP or clip.name in met:
                yield from gathered()
                layout = own
            clips.append(clip)
            files.append(printable(path))
            met.add(clip.name)
    yield from gathered()


def _layout_of(fields: Mapping[str, object], options: ReadOptions) -> Layout:
    name = fields.get("layout")
    if name is None:
        if options.layout is None:
            raise ValueError(
                f"what its joints are is not said; give --layout ({', '.join(LAYOUTS)} or a file)"
            )
        return options.layout
    if options.layout is not None and name == options.layout.name:
        return options.layout
    if not isinstance(name, str) or name not in LAYOUTS:
        raise ValueError(f"layout {name!r} is none of {', '.join(LAYOUTS)}; give --layout FILE of that name")
    return LAYOUTS[name]


def _npz_clips(path: Path) -> list[dict[str, Any]]:
    with open(path, "rb"):  # says itself why a file cannot be opened
        return [read_npz(path, FIELDS)]


def _json_clips(path: Path) -> list[dict[str, Any]]:
    """Read one clip as an object or as bare nested lists of numbers, or a list of objects, a clip each."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a JSON file: {error}") from error
    if content == []:
        raise ValueError("holds no clip")
    if isinstance(content, list) and isinstance(content[0], dict):
        clips = content
    elif isinstance(content, list):
        clips = [{"keypoints": content}]
    else:
        clips = [content]
    for i, clip in enumerate(clips):
        if not isinstance(clip, dict) or "keypoints" not in clip:
            held = f"keys {sorted(clip)[:8]}" if isinstance(clip, dict) else type(clip).__name__
            raise ValueError(
                f"clip {i}: expected an object with keypoints, image_size and perhaps scores, got {held}"
            )
        refuse_mistyped(clip, FIELDS)
    return clips


def _problem(path: Path, error: Exception | str) -> Problem:
    """Return ``error`` without the path that it may begin with."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Problem(printable(path), text.removeprefix(f"{path}: "))


Reader = Callable[[Mapping[Path, str], ReadOptions], Iterator[ClipGroup | Problem]]
READERS: dict[str, Reader] = {
    ".skeleton": _read_skeletons,
    ".pkl": _read_pickles,
    ".pickle": _read_pickles,
    ".npz": lambda names, options: _read_fields(_npz_clips, names, options),
    ".json": lambda names, options: _read_fields(_json_clips, names, options),
    ".safetensors": _read_packed,
}
