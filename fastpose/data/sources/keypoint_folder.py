"""Folders and files of keypoints in any form into packed clips, with labels from a table, folders or the files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fastpose.data.pack.clip_builder import clean_into
from fastpose.data.pack.clip_check import CheckedClip, check_label
from fastpose.data.pack.layouts import Layout, convert, get_layout, tell_conversion
from fastpose.data.pack.packed import PackedClips
from fastpose.data.sources.found_clip import frame_number
from fastpose.data.sources.found_files import SUFFIXES, Problem, ReadClip, ReadOptions, printable, read_found
from fastpose.data.sources.labels import ClipLabel, LabelTable, class_number, hold_out, label_of_folders
from fastpose.data.sources.pack_log import OnError, PackLog


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOptions:
    """Where labels and splits come from, if the files do not say.

    Attributes:
        labels: csv file clip,label[,split][,group]; it wins over all else.
        class_names: K names, or K; by default the class names met, sorted, or the largest label + 1.
        val_fraction: of each class is held out as split "val", if there is no split.
        seed: of the clips held out.
    """

    labels: Path | None = None
    class_names: Sequence[str] | int | None = None
    val_fraction: float | None = None
    seed: int = 0


def pack_keypoints(
    source: str | Path,
    *,
    options: ReadOptions | None = None,
    labels: LabelOptions | None = None,
    suffixes: Sequence[str] = SUFFIXES,
    convert_to: str | Path | Layout | None = None,
    exchange_sides: bool | None = None,
    on_error: OnError = "skip",
    progress: bool = False,
) -> tuple[PackedClips, PackLog]:
    """Pack a file, or all keypoint files below a folder; a clip's name is its path in there, without suffix.

    The label of a clip is that of the table ``labels.labels``, of its file, or the name of its folder. Without
    splits all clips form "all".

    Args:
        options: what joints, image sizes and coordinates are where files do not say.
        labels: where labels and splits come from.
        suffixes: of the files to read below a folder.
        convert_to: layout of the pack; by default that of the first clip.
        exchange_sides: exchange left and right; by default between Kinect's layouts and all others.
        on_error: "raise" makes the first bad clip an error.
        progress: show a progress bar on the error stream.

    Raises:
        ValueError: nothing to pack, class names beside numbers, or a bad clip with ``on_error="raise"``.
        OSError: no such file or folder.
    """
    from tqdm import tqdm

    source, log = Path(source), PackLog(on_error)
    options, labels = options or ReadOptions(), labels or LabelOptions()
    if not source.exists():
        raise FileNotFoundError(2, "no such file or folder", str(source))
    folder = source if source.is_dir() else source.parent
    paths = _files(source, suffixes)
    if not paths:
        raise ValueError(f"{source}: no file in it or below it ends in {', '.join(suffixes)}")
    shown = tqdm(paths, unit=" files", desc="reading", disable=not progress)
    items = read_found(shown, lambda path: _name_in(path, folder), options)
    made_of = f"keypoint files {source.name}"
    packed = pack_found(
        items, source, log, labels, convert_to=convert_to, exchange_sides=exchange_sides, made_of=made_of
    )
    return packed, log


def pack_found(
    items: Iterable[ReadClip | Problem],
    source: str | Path,
    log: PackLog,
    labels: LabelOptions,
    *,
    convert_to: str | Path | Layout | None = None,
    exchange_sides: bool | None = None,
    made_of: str,
) -> PackedClips:
    """Pack clips that were read, with labels and splits; what else becomes of them is noted in ``log``.

    Args:
        items: the clips, and what could not be read.
        source: where they are from, for texts.
        labels, convert_to, exchange_sides: as for ``pack_keypoints``.
        made_of: the source that the pack names.

    Raises:
        ValueError: as ``pack_keypoints``.
        OSError: the table of labels cannot be read.
    """
    table = LabelTable.read(labels.labels) if labels.labels else None
    target = None if convert_to is None else get_layout(convert_to)
    clips: list[CheckedClip] = []
    of_clips: list[ClipLabel] = []
    met: set[str] = set()
    for item in items:
        if isinstance(item, Problem):
            log.skip(Path(item.file).name, "cannot be read", str(item))
            continue
        target = item.layout if target is None else target
        try:
            label = _label_of(item, table)
            clip = _in_layout(item, target, exchange_sides)
            if clip.name in met:
                raise ValueError(f"clip {clip.name!r}: a clip of this name was packed already")
        except ValueError as error:
            log.skip(item.clip.name, "cannot be packed", f"{item.file}: {error}")
            continue
        met.add(clip.name)
        log.note_clips(clip.notes)
        clips.append(clip)
        of_clips.append(label)
    if table is not None and (unused := table.unused()):
        shown_names = ", ".join(unused[:3]) + ", …" * (len(unused) > 3)
        log.notes.append(
            f"{len(unused)} rows of {labels.labels} name no clip that was packed ({shown_names})"
        )
    log.need_clips(clips, source)
    assert target is not None
    clips, of_clips, class_names = _number_classes(clips, of_clips, labels.class_names, log, source)
    splits = _splits(clips, of_clips, labels, log)
    clips = [replace(clip, split=None) for clip in clips]
    return PackedClips.from_checked(clips, target, class_names, splits, made_of)


def _files(source: Path, suffixes: Sequence[str]) -> list[Path]:
    if source.is_file():
        return [source]
    return sorted(
        (path for path in source.rglob("*") if path.suffix.lower() in suffixes and path.is_file()), key=_place
    )


def _place(path: Path) -> tuple[str, int]:
    """Return what brings the frames of a clip together: the path up to its last number, and that number."""
    prefix, number = frame_number(path.stem.removesuffix("_keypoints")) or (path.stem, 0)
    return f"{path.parent}/{prefix}", number


def _name_in(path: Path, folder: Path) -> str:
    if path == folder:
        return printable(path.name)
    inside = path.relative_to(folder)
    inside = inside.with_suffix("") if inside.suffix.lower() in SUFFIXES else inside
    return printable(inside.as_posix())


def _label_of(item: ReadClip, table: LabelTable | None) -> ClipLabel:
    own = (
        item.label.item()
        if isinstance(item.label, np.ndarray | np.generic) and item.label.size == 1
        else item.label
    )
    name = item.clip.name
    if table is not None:
        row = table.find(name)
        if isinstance(row.label, int):
            check_label(row.label)
        return replace(row, split=row.split or item.clip.split)
    if isinstance(own, str) and own:
        return ClipLabel(own, item.clip.split)
    if own is not None and not isinstance(own, str):
        try:
            return ClipLabel(check_label(own), item.clip.split)
        except ValueError as error:
            raise ValueError(f"clip {name!r}: {error}") from error
    of_folder = label_of_folders(name)
    if of_folder is None:
        raise ValueError(
            f"clip {name!r} has no label: give a table (--labels CSV with the columns clip,label), or put the clips of "
            "each class into a folder of its name"
        )
    return replace(of_folder, split=item.clip.split or of_folder.split)


def _in_layout(item: ReadClip, target: Layout, exchange_sides: bool | None) -> CheckedClip:
    if item.layout == target:
        return item.clip
    keypoints = np.empty(item.clip.keypoints.shape, np.float32)
    scores = np.empty(keypoints.shape[:3], np.float32)
    clean_into(item.clip, keypoints, scores)
    keypoints, scores = convert(keypoints, scores, item.layout, target, exchange_sides=exchange_sides)
    return replace(
        item.clip,
        keypoints=keypoints,
        scores=scores,
        notes=(*item.clip.notes, *tell_conversion(item.layout, target, exchange_sides)),
    )


def _number_classes(
    clips: list[CheckedClip],
    labels: list[ClipLabel],
    class_names: Sequence[str] | int | None,
    log: PackLog,
    source: str | Path,
) -> tuple[list[CheckedClip], list[ClipLabel], Sequence[str] | int | None]:
    """Give class names their numbers; numbers stay as they are, and so do names that are all whole numbers.

    Of labels of both kinds, those of the rarer are left out.
    """
    numbers = [class_number(str(label.label)) for label in labels]
    is_named = [isinstance(label.label, str) for label in labels]
    by_name = sum(is_named) * 2 > len(labels) and any(number is None for number in numbers)
    if by_name:
        if isinstance(class_names, int):
            raise ValueError(
                f"{source}: labels are class names; give the names of all classes, not their number"
            )
        if class_names is None:
            class_names = sorted(
                {str(label.label) for label, named in zip(labels, is_named, strict=True) if named}
            )
        number_of = {name: number for number, name in enumerate(class_names)}
        numbers = [
            number_of.get(str(label.label)) if named else None
            for label, named in zip(labels, is_named, strict=True)
        ]
    num_classes = len(class_names) if isinstance(class_names, Sequence) else class_names
    kept = []
    for i, (clip, number) in enumerate(zip(clips, numbers, strict=True)):
        if number is None or number < 0 or (num_classes is not None and number >= num_classes):
            expected = "the given classes" if num_classes is not None else "a class number from 0"
            detail = f"{source}: clip {clip.name!r}: class {labels[i].label!r} is not one of {expected}"
            log.skip(clip.name, "unknown class", detail)
        else:
            kept.append(i)
    log.need_clips(kept, source)
    return [replace(clips[i], label=numbers[i] or 0) for i in kept], [labels[i] for i in kept], class_names


def _splits(
    clips: Sequence[CheckedClip], labels: Sequence[ClipLabel], options: LabelOptions, log: PackLog
) -> dict[str, list[int]]:
    splits: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        if label.split is not None:
            splits.setdefault(label.split, []).append(i)
    if splits:
        if options.val_fraction is not None:
            log.notes.append("the clips have splits of their own: val_fraction has no effect")
        if left := len(labels) - sum(map(len, splits.values())):
            log.notes.append(f"{left} clips are in no split")
        return splits
    if options.val_fraction is None:
        log.notes.append(
            'no splits: all clips form the split "all" (--val-fraction 0.2 holds some of each class out)'
        )
        return {"all": list(range(len(clips)))}
    numbers = np.array([clip.label for clip in clips], np.int64)
    held = hold_out(numbers, [label.group for label in labels], options.val_fraction, options.seed)
    grouped = "by group" if any(label.group is not None for label in labels) else "clip by clip"
    log.notes.append(f"{int(held.sum())} clips held out {grouped} as split val, seed {options.seed}")
    return {"train": np.flatnonzero(~held).tolist(), "val": np.flatnonzero(held).tolist()}
