"""MMPose: what its demo and its inferencer save, and other lists of persons for each frame in the same form."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastpose.data.pack.clip_check import real_array
from fastpose.data.pack.layouts import Layout
from fastpose.data.sources.estimators.coco import LAYOUT_OF, layout_of_names, person_id
from fastpose.data.sources.found_clip import FoundClip, clip_of_detections

_DATASET_LAYOUTS = {
    "coco": "coco17",
    "coco_wholebody": "coco_wholebody133",
    "halpe26": "halpe26",
    "halpe": "halpe136",
    "h36m": "h36m17",
}


def is_demo(content: object) -> bool:
    """Whether it is {meta_info, instance_info: [{frame_id, instances}]}."""
    return isinstance(content, dict) and isinstance(content.get("instance_info"), list)


def is_frames(content: object) -> bool:
    """Whether it is a list of frames, each a list of {keypoints, …} whose keypoints are lists of joints."""
    if not isinstance(content, list) or not all(isinstance(frame, list) for frame in content):
        return False
    first = next((person for frame in content for person in frame), None)
    return isinstance(first, dict) and isinstance(first.get("keypoints"), list)


def read_demo(content: Mapping[str, Any]) -> list[FoundClip]:
    """Read what the demo saves; ``meta_info`` says what the joints are.

    Raises:
        ValueError: a frame without instances, or keypoints that do not fit.
    """
    frames = []
    for i, frame in enumerate(content["instance_info"]):
        if not isinstance(frame, dict) or not isinstance(frame.get("instances"), list):
            raise ValueError(f"instance_info {i} has no list of instances")
        number = frame.get("frame_id", i)
        frames.append((number if isinstance(number, int) else i, frame["instances"]))
    return [_read(frames, _layout_of_meta(content.get("meta_info")))]


def read_frames(content: Sequence[Sequence[Any]]) -> list[FoundClip]:
    """Read what the inferencer saves, which does not say what the joints are.

    Raises:
        ValueError: keypoints that do not fit.
    """
    return [_read(list(enumerate(content)), None)]


def _layout_of_meta(meta: object) -> Layout | str | None:
    if not isinstance(meta, dict):
        return None
    if (known := _DATASET_LAYOUTS.get(str(meta.get("dataset_name", "")).lower())) is not None:
        return known
    names = meta.get("keypoint_id2name")
    if isinstance(names, dict) and all(str(key).isdecimal() for key in names):
        return layout_of_names([names[key] for key in sorted(names, key=lambda key: int(str(key)))])
    return None


def _read(frames: Sequence[tuple[int, Sequence[Any]]], layout: Layout | str | None) -> FoundClip:
    numbers, keypoints, scores, ids = [], [], [], []
    for number, persons in frames:
        for person in persons:
            if not isinstance(person, dict) or person.get("keypoints") is None:
                raise ValueError(f"frame {number}: a person without keypoints")
            numbers.append(number)
            keypoints.append(person["keypoints"])
            scores.append(person.get("keypoint_scores"))
            ids.append(person_id(person.get("track_id")))
    if not numbers:
        raise ValueError("nobody was detected in any frame")
    points = real_array(keypoints, "keypoints")  # [n, V, 2 or 3], or [n, V·3] where they are flat
    if points.ndim == 2 and points.shape[1] % 3 == 0:
        points = points.reshape(len(points), -1, 3)
    if points.ndim != 3 or points.shape[2] not in (2, 3):
        raise ValueError(f"keypoints of a person must be V joints of x, y, got {list(points.shape[1:])}")
    if all(score is None for score in scores):
        of_joints = points[..., 2] if points.shape[2] == 3 else np.ones(points.shape[:2])
    else:
        of_joints = real_array(scores, "keypoint_scores")
    if of_joints.shape != points.shape[:2]:
        raise ValueError(f"keypoint_scores of a person must be {points.shape[1]} numbers")
    if points.shape[2] == 3 and of_joints is not points[..., 2] and scores[0] is not None:
        raise ValueError(
            "keypoints have three numbers per joint beside scores: 3D joints, of which pixels are needed"
        )
    joints = points.shape[1]
    return clip_of_detections(
        numbers,
        points[..., :2],
        of_joints,
        ids,
        [number for number, _ in frames],
        layout=layout,
        usual_layout=LAYOUT_OF.get(joints) if joints != 17 else None,  # 17 may be COCO's or Human3.6M's
    )
