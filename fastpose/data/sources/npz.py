"""One's own data: a folder with one `.npz` file per clip."""

import difflib
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fastpose.data.pack.clip_builder import CheckedClip, check_clip
from fastpose.data.pack.layouts import Layout, get_layout
from fastpose.data.pack.packed import PackedClips
from fastpose.data.sources.pack_log import OnError, PackLog, refuse_normalised

_ARRAYS = ("keypoints", "scores", "label", "split", "image_size")


def pack_npz(
    folder: str | Path,
    *,
    layout: str | Path | Layout,
    image_size: tuple[int, int] | None = None,
    class_names: Sequence[str] | int | None = None,
    on_error: OnError = "skip",
    progress: bool = False,
) -> tuple[PackedClips, PackLog]:
    """Pack every `.npz` below ``folder``; a clip's name is its path in there, without suffix.

    A file holds ``keypoints`` [M, T, V, 2] in pixels, ``label`` (an integer, or a class name) and optionally
    ``scores`` [M, T, V], ``split`` (text) and ``image_size`` (h, w). Without splits all clips form "all".

    Args:
        layout: what the V joints are.
        image_size: (h, w) of the files that do not say.
        class_names: K names, or K. By default: the class names met, sorted, or the largest label + 1.
        on_error: "raise" makes the first bad file an error.

    Raises:
        ValueError: nothing to pack, class names beside numbers, or a bad file with ``on_error="raise"``.
        OSError: no such folder.
    """
    from tqdm import tqdm

    folder, layout, log = Path(folder), get_layout(layout), PackLog(on_error)
    if not folder.is_dir():
        raise FileNotFoundError(2, "no such folder", str(folder))
    paths = sorted(folder.rglob("*.npz"))
    if not paths:
        raise ValueError(f"{folder}: no .npz file in it or below it")
    clips: list[CheckedClip] = []
    labels: list[int | str] = []
    for path in tqdm(paths, unit=" files", desc="reading", disable=not progress):
        name = path.relative_to(folder).with_suffix("").as_posix()
        try:
            fields = read_npz(path)
            if "label" not in fields:
                raise ValueError(f"no label in it; its arrays are {sorted(fields)}")
            label = fields["label"]
            placeholder = 0 if isinstance(label, str) else label
            fields = {"image_size": image_size, **fields, "name": name, "label": placeholder}
            if fields["image_size"] is None:
                raise ValueError("no image_size in it; give --image-size H W")
            clips.append(check_clip(fields, layout, name))
            labels.append(label)
        except ValueError as error:
            log.skip(name, "cannot be read", f"{path}: {error}")
    log.need_clips(clips, folder)
    refuse_normalised(clips, folder)
    clips, class_names = _label_classes(folder, clips, labels, class_names, log)
    splits = None
    if all(clip.split is None for clip in clips):
        log.notes.append('no split in any file: all clips form the split "all"')
        splits = {"all": range(len(clips))}
    return PackedClips.from_checked(clips, layout, class_names, splits, f"npz folder {folder.name}"), log


def read_npz(path: Path, known: Sequence[str] = _ARRAYS) -> dict:
    """Read those arrays of a clip's file that are ``known``; texts of one element become ``str``.

    Raises:
        ValueError: no whole `.npz` file of plain arrays, or an array's name that looks mistyped.
    """
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no zip archive")
        with np.load(path, allow_pickle=False) as file:
            fields = {key: file[key] for key in file.files}
    except Exception as error:  # a damaged archive makes zipfile and NumPy raise nearly anything
        raise ValueError(f"not a readable .npz file without pickled objects: {error}") from error
    refuse_mistyped(fields, known)
    return {
        key: str(fields[key].item())
        if fields[key].size == 1 and fields[key].dtype.kind == "U"
        else fields[key]
        for key in known
        if key in fields
    }


def refuse_mistyped(fields: Collection[str], known: Sequence[str]) -> None:
    """Refuse a name that is nearly one of the ``known`` ones that are missing; other names are let through.

    Raises:
        ValueError: there is one; the text says what it might be.
    """
    for key in set(fields) - set(known):
        if close := difflib.get_close_matches(key, set(known) - set(fields), n=1, cutoff=0.75):
            raise ValueError(f"array {key!r} is unknown: is it {close[0]!r}?")


def _label_classes(
    folder: Path,
    clips: Sequence[CheckedClip],
    labels: Sequence[int | str],
    class_names: Sequence[str] | int | None,
    log: PackLog,
) -> tuple[list[CheckedClip], Sequence[str] | int | None]:
    """Give class names their numbers; integers stay as they are."""
    named = [label for label in labels if isinstance(label, str)]
    if not named:
        return list(clips), class_names
    if len(named) < len(labels):
        raise ValueError(
            f"{folder}: some labels are class names ({named[0]!r}), some are numbers; use one kind"
        )
    if class_names is None:
        class_names = sorted(set(named))
    elif isinstance(class_names, int):
        raise ValueError(f"{folder}: labels are class names; give the names of all classes, not their number")
    number_of = {name: number for number, name in enumerate(class_names)}
    numbered = []
    for clip, label in zip(clips, labels, strict=True):
        if label not in number_of:
            log.skip(
                clip.name,
                "unknown class",
                f"{folder}/{clip.name}.npz: class {label!r} is not one of the given",
            )
        else:
            numbered.append(replace(clip, label=number_of[label]))
    log.need_clips(numbered, folder)
    return numbered, class_names
