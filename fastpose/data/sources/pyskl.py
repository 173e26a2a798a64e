"""PYSKL and MMAction2 annotation pickles."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastpose.data.pack.clip_builder import CheckedClip, check_clip
from fastpose.data.pack.layouts import COCO17, KINECT25, LAYOUTS, PENN13, Layout, get_layout, tell_conversion
from fastpose.data.pack.packed import PackedClips
from fastpose.data.sources.pack_log import OnError, PackLog, refuse_normalised
from fastpose.data.sources.safe_pickle import load_pickle, plain

_LAYOUT_BY_JOINTS = {layout.num_joints: layout for layout in (COCO17, KINECT25, PENN13)}


def pack_pyskl(
    path: str | Path,
    *,
    layout: str | Path | Layout | None = None,
    source_layout: str | Path | Layout | None = None,
    image_size: tuple[int, int] | None = None,
    class_names: Sequence[str] | int | None = None,
    exchange_sides: bool | None = None,
    on_error: OnError = "skip",
    progress: bool = False,
) -> tuple[PackedClips, PackLog]:
    """Pack a pickle of {split, annotations}, or a bare list of annotations.

    Skipped: annotations without name, label, 2D keypoints or image size, with ragged persons, of another
    joint or frame count than they say, or of a name met before. Without splits all clips form "all".

    Args:
        path: the pickle; read with an unpickler that runs no code.
        layout: the pack's layout, by default the file's own; a layout that is not built in says what the
            file's joints are.
        source_layout: what the file's joints are; by default COCO-17, Kinect-25 or Penn-13 by their number.
        image_size: (h, w) for annotations that have neither img_shape nor original_shape.
        class_names: K names, or K; by default the largest label + 1.
        exchange_sides: exchange left and right; by default between Kinect's layouts and all others
            (``exchanges_sides``).
        on_error: "raise" makes the first bad annotation an error.
        progress: show a progress bar on the error stream.

    Raises:
        ValueError: not such a pickle, one that tries to run code, 3D keypoints, nothing to pack, or a bad
            annotation with ``on_error="raise"``.
        OSError: the file cannot be read.
    """
    log = PackLog(on_error)
    target = None if layout is None else get_layout(layout)
    own_layout = target if target not in LAYOUTS.values() else None
    clips, split_names, source = read_annotations(
        path, log, source_layout=source_layout or own_layout, image_size=image_size
    )
    log.need_clips(clips, path)
    refuse_normalised(list(clips.values()), path)
    splits = _splits(path, split_names, clips, log)
    source_text = f"annotation pickle {Path(path).name}"
    packed = PackedClips.from_checked(
        list(clips.values()), source, class_names, splits, source_text, progress=progress
    )
    target = target or source
    log.notes += tell_conversion(source, target, exchange_sides)
    return packed.convert_layout(target, exchange_sides=exchange_sides), log


def read_annotations(
    path: str | Path,
    log: PackLog,
    *,
    source_layout: str | Path | Layout | None = None,
    image_size: tuple[int, int] | None = None,
    labelled: bool = True,
) -> tuple[dict[str, CheckedClip], Mapping[str, object] | None, Layout]:
    """Read the clips of a pickle by name, the names in its splits, and what its joints are.

    Annotations that cannot be used are noted in ``log``. Where clips need not be ``labelled``, the label is 0.
    The other arguments and the errors are those of ``pack_pyskl``.
    """
    annotations, split_names = _contents(path)
    source = _source_layout(path, _joint_count(path, annotations), source_layout)
    clips: dict[str, CheckedClip] = {}
    for index, annotation in enumerate(annotations):
        default = f"annotation {index}"
        try:
            clip = _checked(annotation, source, image_size, default, labelled)
        except ValueError as error:
            name = _name(annotation) if isinstance(annotation, Mapping) else None
            log.skip(name or default, "not usable", f"{path}: {error}")
            continue
        if clip.name in clips:
            log.skip(clip.name, "a clip of this name was packed already", f"{path}: two clips {clip.name!r}")
            continue
        clips[clip.name] = clip
    return clips, split_names, source


def _contents(path: str | Path) -> tuple[Sequence[object], Mapping[str, object] | None]:
    data = load_pickle(path)
    split_names = None
    if isinstance(data, Mapping):
        if "annotations" not in data:
            raise ValueError(f"{path}: no 'annotations' in it; its keys are {sorted(map(str, data))[:10]}")
        data, split_names = data["annotations"], data.get("split")
    data = plain(data)
    data = data.tolist() if isinstance(data, np.ndarray) and data.dtype == object else data
    if not isinstance(data, list | tuple):
        raise ValueError(f"{path}: annotations must be a list of dicts, got {type(data).__name__}")
    if split_names is not None and not isinstance(split_names, Mapping):
        raise ValueError(f"{path}: split must be a dict of name lists, got {type(split_names).__name__}")
    return data, split_names


def _joint_count(path: str | Path, annotations: Sequence[object]) -> int:
    """Return V of the first annotation with keypoints [M, T, V, 2]."""
    for annotation in annotations:
        keypoints = annotation.get("keypoint") if isinstance(annotation, Mapping) else None
        shape = getattr(keypoints, "shape", ())
        if len(shape) == 4 and shape[3] == 3:
            raise ValueError(
                f"{path}: 3D keypoints {list(shape)}, but 2D pixels [M, T, V, 2] are needed: use the data "
                "set's 2D annotation file, or for NTU RGB+D pack the .skeleton files with "
                "`fastpose pack ntu`"
            )
        if len(shape) == 4 and shape[3] == 2:
            return shape[2]
    raise ValueError(f"{path}: no annotation holds keypoints, an array [M, T, V, 2]")


def _source_layout(path: str | Path, joints: int, given: str | Path | Layout | None) -> Layout:
    if given is not None:
        source = get_layout(given)
    elif joints in _LAYOUT_BY_JOINTS:
        source = _LAYOUT_BY_JOINTS[joints]
    else:
        raise ValueError(
            f"{path}: {joints} joints fit no built-in layout: describe them in a JSON file "
            "{name, joints, pairs, limbs} and give it with --layout"
        )
    if source.num_joints != joints:
        raise ValueError(f"{path}: {joints} joints, but layout {source.name!r} has {source.num_joints}")
    return source


def _name(annotation: Mapping) -> str | None:
    for value in (annotation.get("frame_dir"), annotation.get("filename")):
        if isinstance(value, str | int | np.integer) and value != "":
            return str(value)
    return None


def _checked(
    annotation: object, layout: Layout, image_size: tuple[int, int] | None, default: str, labelled: bool
) -> CheckedClip:
    if not isinstance(annotation, Mapping):
        raise ValueError(f"{default} must be a dict, got {type(annotation).__name__}")
    name = _name(annotation)
    if name is None:
        raise ValueError(f"{default} has no frame_dir (its name)")
    if annotation.get("keypoint") is None:
        raise ValueError(f"clip {name!r}: no keypoint in it; its keys are {sorted(map(str, annotation))}")
    sizes = (annotation.get("img_shape"), annotation.get("original_shape"), image_size)
    size = next((size for size in sizes if size is not None), None)
    if size is None:
        raise ValueError(f"clip {name!r}: neither img_shape nor original_shape; give --image-size H W")
    clip = check_clip(
        {
            "name": name,
            "keypoints": plain(annotation["keypoint"]),
            "scores": plain(annotation.get("keypoint_score")),
            "label": plain(annotation.get("label")) if labelled else 0,
            "image_size": list(size)[:2] if isinstance(size, Sequence | np.ndarray) else size,
        },
        layout,
        default,
    )
    frames, total = clip.keypoints.shape[1], annotation.get("total_frames")
    if total is not None and total != frames:
        raise ValueError(f"clip {name!r}: total_frames is {total}, but keypoint has {frames} frames")
    return clip


def _splits(
    path: str | Path, split_names: Mapping[str, Any] | None, clips: Mapping[str, CheckedClip], log: PackLog
) -> dict[str, list[int]]:
    if not split_names:
        log.notes.append('no splits in the file: all clips form the split "all"')
        return {"all": list(range(len(clips)))}
    index_of = {name: index for index, name in enumerate(clips)}
    skipped = {name for items in log.skipped.values() for name, _ in items}
    splits = {}
    for split, members in split_names.items():
        listed = isinstance(members, Sequence | set | frozenset | np.ndarray) and not isinstance(members, str)
        if not isinstance(split, str) or not listed:
            raise ValueError(
                f"{path}: split {split!r} must be a list of clip names, got {repr(members)[:80]}"
            )
        names = {str(member): None for member in members}
        for name in names:
            if name not in index_of and name not in skipped:
                log.skip(name, f"named by split {split!r}, but there is no such annotation")
        splits[split] = sorted(index_of[name] for name in names if name in index_of)
    return splits
