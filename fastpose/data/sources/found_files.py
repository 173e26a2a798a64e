"""Keypoint files of any form as a stream of clips: pose estimators', fastpose's own, and bare arrays."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from fastpose.data.pack.clip_check import CheckedClip, check_clip
from fastpose.data.pack.layouts import LAYOUTS, Layout
from fastpose.data.sources.estimators.recognise import FORMS, OneFrame, recognise
from fastpose.data.sources.found_clip import FoundClip, frame_number
from fastpose.data.sources.json_file import load_json
from fastpose.data.sources.own_keypoints import FIELDS, clips_of_json, clips_of_npy, clips_of_npz
from fastpose.settings.keypoints import KeypointOptions
from fastpose.settings.short_text import short

T = TypeVar("T")
SUFFIXES = (".json", ".npz", ".npy")
_PACKED_BY = {".pkl": "pyskl", ".pickle": "pyskl", ".skeleton": "ntu", ".mat": "penn-action", ".mp4": "video"}


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
        layout: what joints are, where a file does not say; it wins over what a form's number of joints says.
        image_size: (h, w) for clips that do not say theirs.
        split: take only this split of pickles and packed files.
        keypoints: how coordinates and scores are to be taken.
        kpfiles: folder of the keypoint files that PYSKL's index of Kinetics-400 points to.
        threads: decoder threads; 0 for all that this process may use.
    """

    layout: Layout | None = None
    image_size: tuple[int, int] | None = None
    split: str | None = None
    keypoints: KeypointOptions = field(default_factory=KeypointOptions)
    kpfiles: Path | None = None
    threads: int = 0


@dataclass(frozen=True, slots=True)
class ReadClip:
    """A checked clip, what its joints are, and what its file says of its class."""

    file: str
    clip: CheckedClip
    layout: Layout
    label: Any


def read_found(
    paths: Iterable[Path], name_of: Callable[[Path], str], options: ReadOptions
) -> Iterator[ReadClip | Problem]:
    """Read files in the order given; files of one frame each are one clip, of what their paths begin with.

    A clip's name is that in its file, else ``name_of`` its path.
    """
    for path, found in _found(paths):
        if isinstance(found, Problem):
            yield found
            continue
        for i, clip in enumerate(found):
            name = name_of(path) if len(found) == 1 else f"{name_of(path)}[{i}]"
            try:
                yield finish(clip, printable(path), clip.name or name, options)
            except ValueError as error:
                yield problem_of(path, error)


def finish(found: FoundClip, file: str, name: str, options: ReadOptions) -> ReadClip:
    """Check what was found, with ``options`` for what it does not say.

    Raises:
        ValueError: something is missing or does not fit; the text names the clip and what to give.
    """
    try:
        if found.fault is not None:
            raise ValueError(found.fault)
        layout, taken = _layout_of(found, options)
        keypoints = options.keypoints
        if found.normalised and keypoints.project is None:
            keypoints = replace(keypoints, normalised=True)
        if found.metres and keypoints.project is None:
            raise ValueError(
                "its joints are in metres, but pixels are needed: see them through a camera (--project kinect_v2, "
                "with --distance METRES if their origin is not the camera)"
            )
        size = options.image_size if found.image_size is None else found.image_size
        if size is None and keypoints.project is None:
            raise ValueError("no image_size in it; give --image-size H W")
    except ValueError as error:
        raise ValueError(f"clip {name!r}: {error}") from error
    fields = {
        "name": name,
        "keypoints": found.keypoints,
        "scores": found.scores,
        "image_size": size,
        "split": found.split,
    }
    clip = check_clip(fields, layout, name, keypoints, labelled=False, persons_first=found.persons_first)
    return ReadClip(file, replace(clip, notes=(*taken, *found.notes, *clip.notes)), layout, found.label)


def _layout_of(found: FoundClip, options: ReadOptions) -> tuple[Layout, tuple[str, ...]]:
    """Return what the joints are, and a note where only their number says so."""
    given, own = options.layout, found.layout
    if own is None and given is not None:
        return given, ()
    if own is None and found.usual_layout is not None:
        layout = LAYOUTS[found.usual_layout]
        return layout, (f"{layout.num_joints} joints taken for {layout.name}, as usual in such files",)
    if own is None:
        raise ValueError(f"what its joints are is not said; give --layout ({', '.join(LAYOUTS)} or a file)")
    if isinstance(own, Layout):
        return own, ()
    if not isinstance(own, str):
        raise ValueError(f"layout must be the name of one, got {short(own)}")
    if given is not None and own == given.name:
        return given, ()
    if own not in LAYOUTS:
        raise ValueError(
            f"layout {own!r:.80} is none of {', '.join(LAYOUTS)}; give --layout FILE of that name"
        )
    return LAYOUTS[own], ()


def _found(paths: Iterable[Path]) -> Iterator[tuple[Path, list[FoundClip] | Problem]]:
    """Yield what each file holds; of files of one frame each, what those of a folder with one beginning hold."""
    group: list[tuple[int, Any]] = []
    begun: tuple[Path, str, Callable[[list[tuple[int, Any]]], FoundClip]] | None = None

    def gathered() -> Iterator[tuple[Path, list[FoundClip] | Problem]]:
        nonlocal begun
        if begun is not None:
            folder, prefix, read = begun
            path = folder / prefix.rstrip("_-. ") if prefix.rstrip("_-. ") else folder
            try:
                yield path, _fitting(lambda: [read(sorted(group, key=lambda frame: frame[0]))])
            except ValueError as error:
                yield path, problem_of(path, error)
            group.clear()
            begun = None

    for path in paths:
        try:
            read = _READERS.get(path.suffix.lower())
            if read is None:
                other = _PACKED_BY.get(path.suffix.lower())
                hint = f"; `fastpose pack {other}` packs these" if other else ""
                raise ValueError(f"no such kind of file; expected one of {', '.join(SUFFIXES)}{hint}")
            found = read(path)
            if isinstance(found, OneFrame):
                prefix, number = frame_number(path.stem.removesuffix("_keypoints")) or (path.stem, 0)
                if begun != (path.parent, prefix, found.read):
                    yield from gathered()
                    begun = (path.parent, prefix, found.read)
                group.append((number, found.content))
                continue
            yield from gathered()
            yield path, found
        except (ValueError, OSError) as error:
            yield path, problem_of(path, error)
    yield from gathered()


def _read_json(path: Path) -> OneFrame | list[FoundClip]:
    content = load_json(path, unique=FIELDS)

    def read() -> OneFrame | list[FoundClip]:
        found = recognise(content)
        return clips_of_json(content) if found is None else found

    return _fitting(read)


def _fitting(read: Callable[[], T]) -> T:
    """Return ``read()``, whatever error content of strangers makes it raise being a ValueError."""
    try:
        return read()
    except (TypeError, AttributeError, KeyError, IndexError, OverflowError, RecursionError) as error:
        raise ValueError(f"its content fits none of the forms that are read ({FORMS}): {error}") from error


_READERS: dict[str, Callable[[Path], OneFrame | list[FoundClip]]] = {
    ".json": _read_json,
    ".npz": lambda path: _fitting(lambda: clips_of_npz(path)),
    ".npy": clips_of_npy,
}


def printable(path: str | Path) -> str:
    """Return the text of a path, whose bytes need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def problem_of(path: Path, error: Exception | str) -> Problem:
    """Return ``error`` without the path that it may begin with."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Problem(printable(path), text.removeprefix(f"{path}: "))
