"""Penn Action (Zhang, Zhu, Derpanis, ICCV 2013): `labels/NNNN.mat`, one person, 13 joints."""

from pathlib import Path

import numpy as np

from fastpose.data.pack.clip_check import CheckedClip, check_clip
from fastpose.data.pack.layouts import PENN13
from fastpose.data.pack.packed import PackedClips
from fastpose.data.sources.mat_file import Value, read_mat
from fastpose.data.sources.pack_log import OnError, PackLog
from fastpose.settings.short_text import short

CLASS_NAMES = (
    "baseball_pitch", "baseball_swing", "bench_press", "bowl", "clean_and_jerk", "golf_swing", "jump_rope",
    "jumping_jacks", "pullup", "pushup", "situp", "squat", "strum_guitar", "tennis_forehand", "tennis_serve",
)  # fmt: skip
_FIELDS = ("x", "y", "visibility", "action", "train", "dimensions", "nframes")


def pack_penn_action(
    folder: str | Path, *, on_error: OnError = "skip", progress: bool = False
) -> tuple[PackedClips, PackLog]:
    """Pack the data set's folder, or its ``labels`` folder, with the official splits ``train`` and ``test``.

    MATLAB's 1 is subtracted from x and y. A joint at x ≤ 1 and y ≤ 1 with visibility 0 is missing (score 0);
    every other joint is annotated, occluded or not (score 1), even outside the frame.

    Raises:
        ValueError: no such file in the folder, or a bad one with ``on_error="raise"``.
        OSError: no such folder.
    """
    from tqdm import tqdm

    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(2, "no such folder", str(folder))
    labels = folder / "labels" if (folder / "labels").is_dir() else folder
    paths = sorted(labels.glob("*.mat"))
    if not paths:
        raise ValueError(f"{folder}: no .mat file in it, nor in a folder labels below it")
    log, clips = PackLog(on_error), []
    for path in tqdm(paths, unit=" files", desc="reading", disable=not progress):
        try:
            clips.append(_read_clip(path))
        except ValueError as error:
            log.skip(path.name, "cannot be read", f"{path}: {error}")
    log.need_clips(clips, folder)
    return PackedClips.from_checked(clips, PENN13, CLASS_NAMES, source="Penn Action"), log


def _read_clip(path: Path) -> CheckedClip:
    fields = read_mat(path, _FIELDS)
    if missing := [field for field in _FIELDS if field not in fields]:
        raise ValueError(f"no {', '.join(missing)} in it")
    # Storage types differ per file, u1 among them: subtracting first would wrap around.
    x, y, visibility = (_frames(fields, name) for name in ("x", "y", "visibility"))
    if not x.shape == y.shape == visibility.shape:
        raise ValueError(f"x {x.shape}, y {y.shape} and visibility {visibility.shape} must have one shape")
    if (num_frames := _number(fields, "nframes")) != len(x):
        raise ValueError(f"nframes is {num_frames}, but x has {len(x)} rows")
    action = fields["action"]
    if not isinstance(action, str) or action not in CLASS_NAMES:
        raise ValueError(f"action {short(action)} is not one of the 15: {', '.join(CLASS_NAMES)}")
    if (train := _number(fields, "train")) not in (1, -1):
        raise ValueError(f"train must be 1 or -1, got {train}")
    dimensions = np.asarray(fields["dimensions"]).ravel()
    if dimensions.size < 2 or dimensions.dtype.kind not in "fiu" or not np.isfinite(dimensions[:2]).all():
        raise ValueError(f"dimensions must be [H W T], got {short(dimensions.tolist())}")
    missing_joints = (x <= 1) & (y <= 1) & (visibility == 0)
    clip = {
        "name": path.stem,
        "keypoints": np.stack([x - 1, y - 1], axis=-1)[None],
        "scores": (~missing_joints).astype(np.float32)[None],
        "label": CLASS_NAMES.index(action),
        "image_size": dimensions[:2].tolist(),
        "split": "train" if train == 1 else "test",
    }
    return check_clip(clip, PENN13, path.stem, marked=False)  # the data set has a mark of its own


def _frames(fields: dict[str, Value], name: str) -> np.ndarray:
    array = np.asarray(fields[name])
    if array.dtype.kind not in "fiub" or array.ndim != 2 or array.shape[1] != PENN13.num_joints:
        raise ValueError(f"{name} must be T×13 numbers, got {array.dtype} {list(array.shape)}")
    return array.astype(np.float64)


def _number(fields: dict[str, Value], name: str) -> int:
    array = np.asarray(fields[name])
    if array.size != 1 or array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be one number, got {array.dtype} {list(array.shape)}")
    if array.item() != np.trunc(array.item()) or not np.isfinite(array.item()):
        raise ValueError(f"{name} must be a whole number, got {array.item()}")
    return int(array.item())
