"""Ultralytics: for each frame a list of {name, class, confidence, box, track_id, keypoints: {x, y, visible}}."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastpose.data.pack.clip_check import real_array
from fastpose.data.sources.estimators.coco import person_id
from fastpose.data.sources.found_clip import FoundClip, clip_of_detections

_LAYOUT_OF = {17: "coco17"}


def is_frame(content: object) -> bool:
    """Whether it is such a list of at least one detection with keypoints."""
    return isinstance(content, list) and any(_is_person(person) for person in content)


def is_frames(content: object) -> bool:
    """Whether it is a list of such lists, of which some may be empty."""
    return (
        isinstance(content, list)
        and all(isinstance(frame, list) for frame in content)
        and any(is_frame(frame) for frame in content)
    )


def _is_person(person: object) -> bool:
    keypoints = person.get("keypoints") if isinstance(person, dict) else None
    return isinstance(keypoints, dict) and {"x", "y"} <= keypoints.keys()


def read_frames(frames: Sequence[tuple[int, Sequence[Any]]]) -> FoundClip:
    """Read the frames of a clip, each with its number; an undetected joint is (0, 0), whatever its confidence.

    Raises:
        ValueError: nobody in any frame, or keypoints that do not fit.
    """
    numbers, ids, columns = [], [], []
    for number, persons in frames:
        for person in persons:
            if not _is_person(person):
                continue  # a detection of something else
            joints = person["keypoints"]
            numbers.append(number)
            ids.append(person_id(person.get("track_id")))
            visible = joints.get("visible")
            columns.append(
                (joints["x"], joints["y"], [1.0] * len(joints["x"]) if visible is None else visible)
            )
    if not numbers:
        raise ValueError("nobody was detected in any frame")
    values = real_array(columns, "keypoints")  # [n, 3, V]
    if values.ndim != 3:
        raise ValueError("keypoints must be equally long lists x, y and visible")
    return clip_of_detections(
        numbers,
        np.stack([values[:, 0], values[:, 1]], axis=-1),
        values[:, 2],
        ids,
        [number for number, _ in frames],
        usual_layout=_LAYOUT_OF.get(values.shape[2]),
        normalised=bool(np.nanmax(np.abs(values[:, :2])) <= 1),  # `summary(normalize=True)`
    )
