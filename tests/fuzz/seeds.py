"""Small contents of every form that is read, as the objects that their writers take."""

import dataclasses
from typing import Any

import numpy as np
from support.packing import annotation, three_clips

from fastpose.data.pack.built_in_layouts import COCO17
from fastpose.settings import RunConfig
from fastpose.settings.presets import PRESETS

SIZE = [480, 640]


def _joints(count: int, frame: int = 0) -> list[list[float]]:
    return [[100.0 + 7 * v + frame, 50.0 + 9 * v, 0.9] for v in range(count)]


def _points(count: int, frame: int = 0) -> list[list[float]]:
    return [joint[:2] for joint in _joints(count, frame)]


def _flat(count: int, frame: int = 0) -> list[float]:
    return [number for joint in _joints(count, frame) for number in joint]


def _array(count: int, persons: int = 1) -> np.ndarray:
    return np.array([[_points(count, t) for t in range(3)]] * persons, np.float32)


def json_contents() -> list[Any]:
    """One for each form of keypoints in JSON."""
    columns = {"x": [0.1 * v for v in range(17)], "y": [9.0 * v for v in range(17)], "visible": [0.5] * 17}
    landmarks = [{"x": 0.01 * v, "y": 0.02 * v, "z": 0.0, "visibility": 0.9} for v in range(33)]
    own = {"keypoints": _array(17).tolist(), "image_size": SIZE, "layout": "coco17"}
    return [
        own | {"scores": np.ones((1, 3, 17)).tolist(), "name": "a", "label": 1, "split": "train"},
        [own, own | {"name": "b"}],
        {"keypoints": [_points(17), [], None, _points(17, 2)], "image_size": SIZE, "layout": "coco17"},
        {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": _flat(25)}]},
        {f"a_{t:03}.jpg": {"people": [{"pose_keypoints_2d": _flat(18, t)}]} for t in range(2)},
        [{"image_id": f"{t}.jpg", "keypoints": _flat(17, t), "score": 2.7, "idx": 1} for t in range(2)],
        {
            "images": [{"id": t, "file_name": f"{t:05}.jpg", "height": 480, "width": 640} for t in range(2)],
            "annotations": [{"image_id": t, "keypoints": _flat(17, t)} for t in range(2)],
            "categories": [{"id": 1, "keypoints": list(COCO17.joints)}],
        },
        {
            "meta_info": {"dataset_name": "coco"},
            "instance_info": [
                {"frame_id": 1, "instances": [{"keypoints": _points(17), "keypoint_scores": [0.5] * 17}]}
            ],
        },
        [[{"keypoints": _joints(26), "track_id": 3}], []],
        [{"name": "person", "class": 0, "box": {"x1": 1}, "track_id": 2, "keypoints": columns}],
        [[{"name": "person", "keypoints": columns}], []],
        [{"pose_landmarks": [landmarks]}, {"pose_landmarks": []}],
        {
            "data": [
                {"frame_index": 1, "skeleton": [{"pose": [0.1, 0.2] * 18, "score": [0.5] * 18}]},
                {"frame_index": 2, "skeleton": []},
            ],
            "label": "wave",
            "label_index": 4,
        },
    ]


def pickle_contents() -> list[Any]:
    """Annotations as PYSKL and MMAction2 write them, and lists in place of arrays."""
    two = [annotation("a", joints=17, frames=3), annotation("b", frames=2, persons=2, label=1)]
    boxes = annotation("c", keypoint=np.array([_joints(17), _joints(17, 1)]), frame_inds=np.array([1, 2]))
    del boxes["keypoint_score"]
    return [
        {"split": {"train": ["a"], "val": {"b"}}, "annotations": two},
        two,
        [annotation("d") | {"keypoint": _array(17).tolist(), "keypoint_score": None, "total_frames": 3}],
        [boxes],
    ]


def npz_contents() -> list[dict[str, np.ndarray]]:
    """fastpose's own form, and CTR-GCN's."""
    own = {"keypoints": _array(17, 2), "image_size": np.array(SIZE), "layout": np.array("coco17")}
    return [
        own | {"scores": np.ones((2, 3, 17)), "label": np.array(1), "name": np.array("a")},
        {
            "x_train": np.tile(np.linspace(0.5, 3, 75, dtype=np.float32), (2, 3, 1)),
            "y_train": np.eye(2, dtype=np.float32),
            "x_test": np.tile(np.linspace(0.5, 3, 150, dtype=np.float32), (1, 3, 1)),
            "y_test": np.array([1]),
        },
    ]


def pack_contents(read: Any) -> list[dict[str, dict[str, Any]]]:
    """The arrays and texts of a pack, by ``read``, which returns both of a packed file."""
    return [dict(zip(("arrays", "texts"), read(three_clips()), strict=True))]


def layout_contents() -> list[Any]:
    """Layouts as their files have them."""
    return [COCO17.to_json(), {"name": "pair", "joints": ["a", "b"], "pairs": [[0, 1]]}]


def settings_contents() -> list[Any]:
    """All settings, and those that presets change."""
    return [dataclasses.asdict(RunConfig()), *PRESETS.values()]
