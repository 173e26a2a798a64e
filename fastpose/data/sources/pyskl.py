"""PYSKL and MMAction2 annotation pickles."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastpose.data.pack.clip_check import (
    ENDLESS,
    CheckedClip,
    check_clip,
    count_numbers,
    real_array,
    whole_number,
)
from fastpose.data.pack.layouts import COCO17, KINECT25, LAYOUTS, Layout, get_layout, tell_conversion
from fastpose.data.pack.packed import PackedClips
from fastpose.data.sources.found_clip import clip_of_detections
from fastpose.data.sources.pack_log import OnError, PackLog
from fastpose.data.sources.safe_pickle import load_pickle, plain
from fastpose.settings.keypoints import KeypointOptions
from fastpose.settings.short_text import short, short_names

_LEAST_BYTES = 32  # of an annotation in a pickle
_FREE_NUMBERS = 2**20  # that a small file may hold
_IN_3D = (
    "; of a data set in 3D use its 2D annotation file, or for NTU RGB+D pack its .skeleton files "
    "(`fastpose pack ntu`)"
)


def pack_pyskl(
    path: str | Path,
    *,
    layout: str | Path | Layout | None = None,
    source_layout: str | Path | Layout | None = None,
    image_size: tuple[int, int] | None = None,
    class_names: Sequence[str] | int | None = None,
    exchange_sides: bool | None = None,
    keypoints: KeypointOptions | None = None,
    kpfiles: Path | None = None,
    on_error: OnError = "skip",
    progress: bool = False,
) -> tuple[PackedClips, PackLog]:
    """Pack a pickle of {split, annotations}, or a bare list of annotations.

    Keypoints are [M, T, V, 2], or [boxes, V, 3] with ``frame_inds`` as for Kinetics-400, whose boxes are linked to
    persons. Skipped: annotations without name, label, pixels or image size, with ragged persons, of another joint
    or frame count than they say, without any joint, or of a name met before. Without splits all clips form "all".

    Args:
        path: the pickle; read with an unpickler that runs no code.
        layout: the pack's layout, by default the file's own; a layout that is not built in says what the
            file's joints are.
        source_layout: what the file's joints are; 17 joints are taken for COCO's, as the form has it.
        image_size: (h, w) for annotations that have neither img_shape nor original_shape.
        class_names: K names, or K; by default the largest label + 1.
        exchange_sides: exchange left and right; by default between Kinect's layouts and all others
            (``exchanges_sides``).
        keypoints: how to take coordinates and scores.
        kpfiles: folder of the keypoint files that an index of Kinetics-400 points to.
        on_error: "raise" makes the first bad annotation an error.
        progress: show a progress bar on the error stream.

    Raises:
        ValueError: not such a pickle, one that tries to run code, joints that could be several layouts', nothing to
            pack, or a bad annotation with ``on_error="raise"``.
        OSError: the file cannot be read.
    """
    log = PackLog(on_error)
    target = None if layout is None else get_layout(layout)
    own_layout = target if target not in LAYOUTS.values() else None
    clips, split_names, source = read_annotations(
        path,
        log,
        source_layout=source_layout or own_layout,
        image_size=image_size,
        keypoints=keypoints,
        kpfiles=kpfiles,
    )
    log.need_clips(clips, path)
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
    keypoints: KeypointOptions | None = None,
    kpfiles: Path | None = None,
    labelled: bool = True,
) -> tuple[dict[str, CheckedClip], Mapping[str, object] | None, Layout]:
    """Read the clips of a pickle by name, the names in its splits, and what its joints are.

    Annotations that cannot be used are noted in ``log``. Where clips need not be ``labelled``, the label is 0.
    The other arguments and the errors are those of ``pack_pyskl``.
    """
    annotations, split_names = _contents(path)
    size = Path(path).stat().st_size
    if len(annotations) * _LEAST_BYTES > size + _FREE_NUMBERS:
        raise ValueError(f"{path}: {len(annotations):,} annotations in {size:,} bytes are no clips")
    read = _WithKeypoints(path, kpfiles, size)
    source = _source_layout(path, annotations, read, source_layout, log)
    clips: dict[str, CheckedClip] = {}
    for index, annotation in enumerate(annotations):
        default = f"annotation {index}"
        try:
            clip = _checked(annotation, read, source, image_size, keypoints, default, labelled)
        except SharedKeypointsError:
            raise
        except ValueError as error:
            name = _name(annotation) if isinstance(annotation, Mapping) else None
            log.skip(name or default, "not usable", f"{path}: {error}")
            continue
        if clip.name in clips:
            log.skip(
                clip.name, "a clip of this name was packed already", f"{path}: two clips {clip.name!r:.100}"
            )
            continue
        log.note_clips(clip.notes)
        clips[clip.name] = clip
    return clips, split_names, source


def _contents(path: str | Path) -> tuple[Sequence[object], Mapping[str, object] | None]:
    data = load_pickle(path)
    split_names = None
    if isinstance(data, Mapping):
        if "annotations" not in data:
            raise ValueError(f"{path}: no 'annotations' in it; its keys are {short_names(data)}")
        data, split_names = data["annotations"], data.get("split")
    data = plain(data)
    data = data.tolist() if isinstance(data, np.ndarray) and data.dtype == object else data
    if not isinstance(data, list | tuple):
        raise ValueError(f"{path}: annotations must be a list of dicts, got {type(data).__name__}")
    if split_names is not None and not isinstance(split_names, Mapping):
        raise ValueError(f"{path}: split must be a dict of name lists, got {type(split_names).__name__}")
    return data, split_names


class SharedKeypointsError(ValueError):
    """The annotations of a small file share keypoints that would be huge, were each to have its own."""


class _WithKeypoints:
    """Finds the keypoints of an annotation: in itself, or in a file of ``kpfiles``, the last of which is kept.

    Args:
        size: bytes of the pickle. All annotations together hold no more numbers than it and the files of ``kpfiles``.
    """

    def __init__(self, path: str | Path, kpfiles: Path | None, size: int) -> None:
        self._path = path
        self._left = self._room = max(size, _FREE_NUMBERS)
        self._folder = kpfiles
        self._file: Path | None = None
        self._content: Mapping[str, Any] = {}

    def __call__(self, annotation: Mapping[str, Any]) -> object:
        """Return the keypoints.

        Raises:
            ValueError: there are none; the text says where they may be.
        """
        if annotation.get("keypoint") is not None:
            return plain(annotation["keypoint"])
        if "frame_inds" not in annotation and "raw_file" not in annotation:
            raise ValueError(f"no keypoint in it; its keys are {short_names(annotation)}")
        if self._folder is None:
            raise ValueError(
                "no keypoint in it: this is an index, whose keypoints are in the files that raw_file names; download "
                "those (kpfiles) and give their folder with --kpfiles"
            )
        raw_file = annotation.get("raw_file")
        if not isinstance(raw_file, str) or not raw_file:
            raise ValueError("neither keypoint nor raw_file, the file that holds it")
        file = self._folder / Path(raw_file).name
        if file != self._file:
            try:
                content = load_pickle(file)
            except OSError as error:
                raise ValueError(f"its keypoints cannot be read: {file}: {error.strerror}") from error
            if not isinstance(content, Mapping):
                raise ValueError(f"{file}: expected a dict of clips, got {type(content).__name__}")
            self._file, self._content = file, content
            self._left += file.stat().st_size
            self._room += file.stat().st_size
        entry = self._content.get(_name(annotation) or "")
        if not isinstance(entry, Mapping) or entry.get("keypoint") is None:
            raise ValueError(f"no keypoints of it in {file}")
        return plain(entry["keypoint"])

    def take(self, *values: object) -> None:
        """Count the numbers of an annotation.

        Raises:
            ValueError: there are more of it alone than the files have bytes.
            SharedKeypointsError: there are more of all.
        """
        count = sum(map(count_numbers, values))
        if count > self._room:
            raise ValueError(f"it holds {min(count, ENDLESS):,} numbers, more than the file has bytes")
        self._left -= count
        if self._left < 0:
            raise SharedKeypointsError(
                f"{self._path}: refused: its annotations share keypoints, and would hold more numbers than the file "
                "has bytes"
            )


def _source_layout(
    path: str | Path,
    annotations: Sequence[object],
    read: _WithKeypoints,
    given: str | Path | Layout | None,
    log: PackLog,
) -> Layout:
    if given is not None:
        return get_layout(given)
    shape = _joint_shape(annotations, read)
    for layout, numbers in ((COCO17, 2), (COCO17, 3), (KINECT25, 3)):  # the form's own: 2D, x y score, and 3D
        if shape in (None, (layout.num_joints, numbers)):
            taken = f"{layout.num_joints} joints taken for {layout.name}, as the form has it"
            log.notes += [f"{taken} (--source-layout if they are others)"] if shape else []
            return layout
    assert shape is not None
    joints = shape[0]
    candidates = [name for name, layout in LAYOUTS.items() if layout.num_joints == joints]
    raise ValueError(
        f"{path}: {joints} joints "
        + (f"may be those of {' or '.join(candidates)}" if candidates else "fit no built-in layout")
        + ": say which (--source-layout when packing, --layout when predicting), or describe them in a JSON file "
        "{name, joints, pairs, limbs}"
    )


def _joint_shape(annotations: Sequence[object], read: _WithKeypoints) -> tuple[int, int] | None:
    """Return V, 2 or 3 of the first annotation whose keypoints have a known shape; None if there is none."""
    for annotation in annotations:
        try:
            keypoints = read(annotation) if isinstance(annotation, Mapping) else None
        except ValueError:
            continue
        shape = _shape(keypoints)
        if len(shape) in (3, 4) and shape[-1] in (2, 3):
            return shape[-2], shape[-1]
    return None


def _shape(value: object) -> tuple[int, ...]:
    """Return the shape of an array, or of nested lists by their first members."""
    if isinstance(value, list | tuple):
        return (len(value), *(_shape(value[0]) if value else ())) if _depth_is_small(value) else ()
    return getattr(value, "shape", ())


def _depth_is_small(value: Any) -> bool:
    for _ in range(8):
        if not isinstance(value, list | tuple) or not value:
            return True
        value = value[0]
    return False


def _name(annotation: Mapping) -> str | None:
    for value in (annotation.get("frame_dir"), annotation.get("filename")):
        if isinstance(value, str | int | np.integer) and value != "":
            return str(value)
    return None


def _checked(
    annotation: object,
    read: _WithKeypoints,
    layout: Layout,
    image_size: tuple[int, int] | None,
    options: KeypointOptions | None,
    default: str,
    labelled: bool,
) -> CheckedClip:
    if not isinstance(annotation, Mapping):
        raise ValueError(f"{default} must be a dict, got {type(annotation).__name__}")
    name = _name(annotation)
    if name is None:
        raise ValueError(f"{default} has no frame_dir (its name)")
    try:
        keypoints, scores = read(annotation), plain(annotation.get("keypoint_score"))
        read.take(keypoints, scores)
        sizes = (annotation.get("img_shape"), annotation.get("original_shape"), image_size)
        size = next((size for size in sizes if size is not None), None)
        if size is None and (options is None or options.project is None):
            raise ValueError("neither img_shape nor original_shape; give --image-size H W")
        boxes = annotation.get("frame_inds") is not None and len(_shape(keypoints)) == 3
        if boxes:
            keypoints, scores = _persons_of_boxes(keypoints, plain(annotation["frame_inds"]))
    except SharedKeypointsError:
        raise
    except ValueError as error:
        raise ValueError(f"clip {name!r}: {error}") from error
    try:
        clip = check_clip(
            {
                "name": name,
                "keypoints": keypoints,
                "scores": scores,
                "label": plain(annotation.get("label")),
                "image_size": list(size)[:2] if isinstance(size, Sequence | np.ndarray) else size,
            },
            layout,
            default,
            options,
            labelled=labelled,
            persons_first=boxes,
        )
    except ValueError as error:
        raise ValueError(f"{error}{_IN_3D if _shape(keypoints)[-1:] == (3,) else ''}") from error
    if (total := annotation.get("total_frames")) is not None and not boxes:
        try:
            said = whole_number(total)
        except ValueError as error:
            raise ValueError(f"clip {name!r}: total_frames: {error}") from error
        if said != clip.given_frames:
            raise ValueError(
                f"clip {name!r}: total_frames is {said}, but keypoint has {clip.given_frames} frames"
            )
    return clip


def member_names(members: Any, where: str) -> list[str]:
    """Return the names of a split's clips, which may be whole numbers.

    Raises:
        ValueError: one is anything else; the text begins with ``where``.
    """
    members = plain(members)
    if isinstance(members, np.ndarray):
        members = members.ravel().tolist()
    for member in members:
        if not isinstance(member, str | int | np.integer):
            raise ValueError(f"{where} must hold names of clips, got {short(member)}")
    return list(map(str, members))


def _persons_of_boxes(keypoints: object, frame_inds: object) -> tuple[object, object]:
    """Return keypoints [M, T, V, 2] and scores [M, T, V] of boxes [n, V, 3] in frames [n], counted from 1."""
    joints, frames = real_array(keypoints, "keypoint"), real_array(frame_inds, "frame_inds", "iu")
    if joints.ndim != 3 or joints.shape[2] != 3 or frames.shape != joints.shape[:1]:
        raise ValueError(
            f"keypoint must be [boxes, V, 3] beside frame_inds [boxes], got {list(joints.shape)} and "
            f"{list(frames.shape)}"
        )
    joints = joints.astype(np.float64)
    clip = clip_of_detections(frames.astype(np.int64).tolist(), joints[..., :2], joints[..., 2])
    return clip.keypoints, clip.scores


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
                f"{path}: split {short(split)} must be a list of clip names, got {short(members)}"
            )
        names = dict.fromkeys(member_names(members, f"{path}: split {short(split)}"))
        for name in names:
            if name not in index_of and name not in skipped:
                log.skip(name, f"named by split {split!r}, but there is no such annotation")
        splits[split] = sorted(index_of[name] for name in names if name in index_of)
    return splits
