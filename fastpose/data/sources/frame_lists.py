"""Keypoints held in Python, a list of what an estimator returned for each frame."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastpose.data.pack.clip_check import real_array
from fastpose.data.pack.coordinates import split_third
from fastpose.data.sources.found_clip import FoundClip, clip_of_detections


def clip_of_frames(frames: Sequence[Any]) -> FoundClip:
    """Link what was detected in each frame to persons.

    Args:
        frames: for each frame in order one of: an array [N, V, 2] or [N, V, 3] (x, y, score) of N persons, or the
            same of one person without N; a pair (keypoints, scores) as rtmlib returns; a dict {keypoints, scores,
            ids}; an object of ``supervision.KeyPoints`` (xy, confidence) or of Ultralytics' results (keypoints.xy,
            keypoints.conf, boxes.id); None or [] where nobody was found.

    Raises:
        ValueError: a frame of another form, or of another number of joints; nobody in any frame.
    """
    numbers: list[int] = []
    ids: list[int | None] = []
    all_keypoints, all_scores = [], []
    joints: int | None = None
    for number, frame in enumerate(frames):
        try:
            keypoints, scores, persons = parts_of_frame(frame)
        except ValueError as error:
            raise ValueError(f"frame {number}: {error}") from error
        if not len(keypoints):
            continue
        if joints is not None and keypoints.shape[1] != joints:
            raise ValueError(f"frame {number} has {keypoints.shape[1]} joints, the ones before {joints}")
        joints = keypoints.shape[1]
        numbers += [number] * len(keypoints)
        ids += [None] * len(keypoints) if persons is None else persons
        all_keypoints.append(keypoints)
        all_scores.append(scores)
    if not numbers:
        raise ValueError("nobody was detected in any frame")
    return clip_of_detections(
        numbers, np.concatenate(all_keypoints), np.concatenate(all_scores), ids, range(len(frames))
    )


def parts_of_frame(frame: Any) -> tuple[np.ndarray, np.ndarray, list[int] | None]:
    """Return keypoints [N, V, 2], scores [N, V] and ids of a frame as ``clip_of_frames`` takes it; N may be 0.

    Raises:
        ValueError: it is of another form.
    """
    points, scores, ids = _fields_of(frame)
    keypoints = _numbers(points, "keypoints")
    if not keypoints.size:
        return np.empty((0, 0, 2)), np.empty((0, 0)), None
    keypoints = keypoints[None] if keypoints.ndim == 2 else keypoints
    if keypoints.ndim != 3 or keypoints.shape[2] not in (2, 3):
        raise ValueError(f"keypoints must be [N, V, 2] or [N, V, 3], got {list(keypoints.shape)}")
    if keypoints.shape[2] == 3:
        keypoints, third, _ = split_third(keypoints)
        scores = third if scores is None else scores
    of_joints = np.ones(keypoints.shape[:2]) if scores is None else _numbers(scores, "scores")
    of_joints = of_joints[None] if of_joints.ndim == 1 and len(keypoints) == 1 else of_joints
    if of_joints.shape != keypoints.shape[:2]:
        raise ValueError(
            f"scores must be {list(keypoints.shape[:2])} as keypoints are, got {list(of_joints.shape)}"
        )
    persons = None if ids is None else _numbers(ids, "ids").astype(np.int64).ravel().tolist()
    if persons is not None and len(persons) != len(keypoints):
        raise ValueError(f"ids must be {len(keypoints)} numbers, one a person, got {len(persons)}")
    return keypoints, of_joints, persons


def _fields_of(frame: Any) -> tuple[Any, Any, Any]:
    """Return keypoints, scores and ids of a frame, None where it has none."""
    if frame is None:
        return [], None, None
    if isinstance(frame, Mapping):
        return frame.get("keypoints", []), frame.get("scores"), frame.get("ids")
    if isinstance(frame, list | tuple):
        if len(frame) == 2 and isinstance(frame, tuple) and _axes(frame[1]) + 1 == _axes(frame[0]):
            return frame[0], frame[1], None
        return frame, None, None
    if hasattr(frame, "keypoints") and hasattr(frame, "boxes"):
        found, ids = frame.keypoints, getattr(frame.boxes, "id", None)
        return ([], None, None) if found is None else (found.xy, found.conf, ids)
    if hasattr(frame, "xy"):
        scores, data = getattr(frame, "keypoint_confidence", None), getattr(frame, "data", None)
        scores = getattr(frame, "confidence", None) if scores is None else scores
        return frame.xy, scores, data.get("tracker_id") if isinstance(data, Mapping) else None
    return frame, None, None


def _axes(value: Any) -> int:
    if isinstance(value, list | tuple):
        return 1 + (_axes(value[0]) if value else 0)
    return getattr(value, "ndim", 0)


def _numbers(value: Any, field: str) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return real_array(value, field)
