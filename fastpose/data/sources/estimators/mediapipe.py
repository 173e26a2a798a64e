"""MediaPipe's pose landmarks: for each frame 33 of {x, y, z, visibility}, of one person or of several."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastpose.data.pack.clip_check import real_array
from fastpose.data.sources.found_clip import FoundClip, clip_of_detections

_JOINTS = 33
_KEYS = ("pose_landmarks", "poseLandmarks", "landmarks", "pose")


def frames_of(content: object) -> list[Any] | None:
    """Return the frames of a clip's landmarks, each a list of persons; None if it is anything else."""
    if isinstance(content, dict):
        inner = next((content[key] for key in (*_KEYS, "frames") if key in content), None)
        return None if inner is None else frames_of(inner)
    if not isinstance(content, list):
        return None
    frames = [_persons(frame) for frame in content]
    return frames if any(frames) and all(frame is not None for frame in frames) else None


def _persons(frame: object) -> list[Any] | None:
    """Return the persons of a frame, [] for an empty one; None if it is no frame of landmarks."""
    if isinstance(frame, dict):
        if frame and not any(key in frame for key in _KEYS):
            return None
        frame = next((frame[key] for key in _KEYS if key in frame), None)
    if frame is None or frame == []:
        return []
    if not isinstance(frame, list):
        return None
    if _is_person(frame):
        return [frame]
    persons = [person for person in frame if person]
    return persons if all(_is_person(person) for person in persons) else None


def _is_person(person: object) -> bool:
    return (
        isinstance(person, list)
        and len(person) == _JOINTS
        and isinstance(person[0], dict)
        and {"x", "y"} <= person[0].keys()
    )


def read_frames(frames: Sequence[Sequence[Any]]) -> FoundClip:
    """Read landmarks, whose x and y are shares of the image.

    Raises:
        ValueError: a landmark without x or y.
    """
    numbers = [number for number, persons in enumerate(frames) for _ in persons]
    try:
        joints = [
            [(joint["x"], joint["y"], joint.get("visibility", 1.0)) for joint in person]
            for persons in frames
            for person in persons
        ]
    except (KeyError, TypeError, AttributeError):
        raise ValueError("a landmark without x or y") from None
    values = real_array(joints, "landmarks")  # [n, 33, 3]
    return clip_of_detections(
        numbers,
        values[..., :2],
        values[..., 2],
        listed=np.arange(len(frames)).tolist(),
        layout="mediapipe33",
        normalised=True,
    )
