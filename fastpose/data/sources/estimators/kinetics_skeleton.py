"""Kinetics-skeleton of ST-GCN: {data: [{frame_index, skeleton: [{pose, score}]}], label, label_index}."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastpose.data.pack.clip_check import real_array
from fastpose.data.sources.found_clip import FoundClip, clip_of_detections

_LAYOUT_OF = {18: "openpose18", 25: "body25"}


def is_clip(content: object) -> bool:
    """Whether it is {data: [{frame_index, skeleton}]}."""
    return (
        isinstance(content, dict)
        and isinstance(content.get("data"), list)
        and bool(content["data"])
        and all(
            isinstance(frame, dict) and isinstance(frame.get("skeleton"), list) for frame in content["data"]
        )
    )


def read(content: Mapping[str, Any]) -> list[FoundClip]:
    """Read a clip, whose x and y are shares of the image.

    Raises:
        ValueError: nobody in any frame, or a person without pose.
    """
    numbers, listed, poses, scores = [], [], [], []
    for i, frame in enumerate(content["data"]):
        number = frame.get("frame_index", i)
        number = number if isinstance(number, int) else i
        listed.append(number)
        for person in frame["skeleton"]:
            if not isinstance(person, dict) or "pose" not in person:
                raise ValueError(f"frame {number}: a person without pose")
            numbers.append(number)
            poses.append(person["pose"])
            scores.append(person.get("score"))
    if not numbers:
        raise ValueError("nobody was detected in any frame")
    points = real_array(poses, "pose")  # [n, V·2]
    if points.ndim != 2 or points.shape[1] % 2:
        raise ValueError("pose must be flat lists x, y of equally many joints")
    points = points.reshape(len(points), -1, 2)
    of_joints = np.ones(points.shape[:2]) if scores[0] is None else real_array(scores, "score")
    if of_joints.shape != points.shape[:2]:
        raise ValueError(f"score must be {points.shape[1]} numbers, one a joint")
    label, number = content.get("label"), content.get("label_index")
    if isinstance(number, int) and number < 0:  # a clip that is not labelled
        label = number = None
    return [
        clip_of_detections(
            numbers,
            points,
            of_joints,
            listed=listed,
            usual_layout=_LAYOUT_OF.get(points.shape[1]),
            label=label if isinstance(label, str) and label else number,
            normalised=True,
        )
    ]
